"""The rules for a spec's input: the tree, its leaves, and the names they get in /pfs and in the environment."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from pachyderm.errors import PachydermError
from pachyderm.spec import cron
from pachyderm.spec.globs import compile_glob
from pachyderm.spec.inputs import Cron, Input, Pfs, Trigger
from pachyderm.spec.model import Spec
from pachyderm.spec.problems import lint
from runtime.typed_json import Problem

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_NAME = 51
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")
_SIZE = re.compile(r"(?a)\d+(\.\d+)? ?([kmgtp]i?)?b?", re.IGNORECASE)
# An input is an environment variable too, and would hide these.
_TAKEN = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "USER", "PWD", "SHELL", "HOSTNAME")


def input_problems(spec: Spec, environment: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the input of a spec."""
    if spec.input is None:
        if not spec.spout:
            yield lint("input", "missing, so the pipeline never has a job")
        return
    yield from _node(spec.input, "input", "")
    yield from _input_names(spec.input, "input", environment)


def _node(node: Input, path: str, parent: str) -> Iterator[Problem]:
    kinds = {
        "pfs": node.pfs,
        "cross": node.cross,
        "join": node.join,
        "group": node.group,
        "union": node.union,
        "cron": node.cron,
    }
    given = [kind for kind, value in kinds.items() if value]
    if len(given) != 1:
        yield Problem(path, f"needs exactly one of {', '.join(kinds)}; has {', '.join(given) or 'none'}")
        return
    kind = given[0]
    if node.pfs:
        yield from _pfs(node.pfs, f"{path}.pfs", parent)
    if node.cron:
        yield from _cron(node.cron, f"{path}.cron")
    for index, child in enumerate(node.children):
        where = f"{path}.{kind}[{index}]"
        if kind in ("join", "group") and not child.pfs:
            yield lint(where, f"only pfs inputs work in a {kind}")
        yield from _node(child, where, parent if parent in ("join", "group") else kind)


def _pfs(pfs: Pfs, path: str, parent: str) -> Iterator[Problem]:
    yield from name_problems(f"{path}.repo", pfs.repo) if pfs.repo else [Problem(f"{path}.repo", "missing")]
    if pfs.commit:
        yield Problem(f"{path}.commit", "an input is a branch, not a commit")
    yield from name_problems(f"{path}.branch", pfs.branch)
    yield from _trigger(pfs.trigger or Trigger(), f"{path}.trigger")
    if reason := pfs.glob and _reason(lambda: compile_glob(pfs.glob)):
        yield lint(f"{path}.glob", reason)
    yield from _pfs_mode(pfs, path, parent)
    for kind, field, value in (("join", "joinOn", pfs.join_on), ("group", "groupBy", pfs.group_by)):
        if parent == kind and not value:
            yield lint(f"{path}.{field}", f"missing in a {kind}")
        if value and parent != kind:
            yield lint(f"{path}.{field}", f"it has an effect only within a {kind}")


def _trigger(trigger: Trigger, path: str) -> Iterator[Problem]:
    if trigger.size and not _SIZE.fullmatch(trigger.size):
        yield Problem(f"{path}.size", f"{trigger.size!r} is not a size; write one such as 100MB")
    if reason := trigger.cron_spec and _reason(lambda: cron.schedule(trigger.cron_spec)):
        yield Problem(f"{path}.cronSpec", reason)


def _pfs_mode(pfs: Pfs, path: str, parent: str) -> Iterator[Problem]:
    if pfs.s3 and pfs.glob != "/":
        yield Problem(f"{path}.glob", 'must be "/" with s3')
    elif not pfs.glob:
        yield Problem(f"{path}.glob", "missing")
    if pfs.s3 and parent in ("join", "group", "union"):
        yield Problem(f"{path}.s3", f"not in a {parent}")
    if pfs.s3 and pfs.lazy:
        yield Problem(f"{path}.lazy", "not together with s3")
    if pfs.s3 and pfs.empty_files:
        yield Problem(f"{path}.emptyFiles", "not together with s3")
    if pfs.lazy and pfs.empty_files:
        yield lint(f"{path}.emptyFiles", "it makes no sense together with lazy")


def _cron(node: Cron, path: str) -> Iterator[Problem]:
    yield from name_problems(f"{path}.name", node.name) if node.name else [Problem(f"{path}.name", "missing")]
    if node.commit:
        yield lint(f"{path}.commit", "an input is a branch, not a commit")
    if not node.spec:
        yield Problem(f"{path}.spec", 'missing; write five fields or "@every 10m"')
    elif reason := _reason(lambda: cron.schedule(node.spec)):
        yield Problem(f"{path}.spec", reason)
    elif cron.is_too_often(node.spec):
        yield lint(f"{path}.spec", f"{node.spec} ticks each second; write how long a tick may take, such as @every 10m")


def _input_names(node: Input, path: str, environment: Mapping[str, str]) -> Iterator[Problem]:
    for name in _twins(node):
        yield Problem(path, f"two inputs are called {name}; give one another name")
    for name in (leaf.name for leaf in node.leaves()):
        if name in ("out", ".env"):
            yield Problem(path, f"an input cannot be called {name}: /pfs/{name} is taken")
        elif name and not VARIABLE.fullmatch(name):
            yield lint(path, f"the name {name} cannot name a variable; give the input another, without dashes")
        elif name in _TAKEN or name in environment:
            yield lint(path, f"the name {name} would overwrite the environment variable")


def _twins(node: Input) -> list[str]:
    """Names that two inputs of one datum share. Branches of a union never meet in a datum, so they may."""

    def names(inner: Input) -> list[str]:
        together = [leaf.name for leaf in (inner.pfs, inner.cron) if leaf]
        for child in (*inner.cross, *inner.join, *inner.group):
            together += names(child)
        return together + sorted({name for child in inner.union for name in names(child)})

    within = {name for child in node.union for name in _twins(child)}
    return sorted({name for name, count in Counter(names(node)).items() if count > 1} | within)


def name_problems(path: str, name: str) -> Iterator[Problem]:
    """What is wrong with the name of a pipeline, project, repo or branch."""
    if not _NAME.fullmatch(name):
        yield Problem(path, f"{name!r} is not a valid name: letters, digits, _ and -, a letter or digit first")
    elif len(name) > LONGEST_NAME:
        yield Problem(path, f"{len(name)} characters long, {LONGEST_NAME} fit")


def _reason(attempt: Callable[[], object]) -> str:
    """What an attempt fails with, empty if it does not."""
    try:
        attempt()
    except PachydermError as error:
        return str(error)
    return ""
