"""The rules for a spec's input: the tree, its leaves, and the names they get in /pfs and in the environment."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.spec import cron
from pachyderm.spec.fields import Problem
from pachyderm.spec.globs import compile_glob
from pachyderm.spec.reading import Spec, leaves

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_NAME = 51
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")
_SIZE = re.compile(r"\d+(\.\d+)? ?([kmgtp]i?)?b?", re.IGNORECASE)
_KINDS = ("pfs", "cross", "join", "group", "union", "cron")
# An input is an environment variable too, and would hide these.
_TAKEN = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "USER", "PWD", "SHELL", "HOSTNAME")


def input_problems(spec: Spec) -> Iterator[Problem]:
    """What is wrong with the input of an effective spec."""
    if not spec.get("input"):
        yield "input", "missing"
        return
    yield from _node(spec["input"], "input", "")
    yield from _input_names(spec["input"], "input", spec)


def _node(node: Mapping[str, Any], path: str, parent: str) -> Iterator[Problem]:
    kinds = [kind for kind in _KINDS if node.get(kind) is not None]
    if len(kinds) != 1:
        yield path, f"needs exactly one of {', '.join(_KINDS)}; has {', '.join(kinds) or 'none'}"
        return
    kind = kinds[0]
    inner = node[kind]
    if kind == "pfs":
        yield from _pfs(inner, f"{path}.pfs", parent)
    elif kind == "cron":
        yield from _cron(inner, f"{path}.cron")
    elif not inner:
        yield f"{path}.{kind}", "is empty"
    else:
        for index, child in enumerate(inner):
            where = f"{path}.{kind}[{index}]"
            if kind in ("join", "group") and "pfs" not in child:
                yield where, f"only pfs inputs can be in a {kind}"
            else:
                yield from _node(child, where, parent if parent in ("join", "group") else kind)


def _pfs(pfs: Mapping[str, Any], path: str, parent: str) -> Iterator[Problem]:
    for field in ("repo", "glob"):
        if not pfs.get(field):
            yield f"{path}.{field}", "missing"
    if pfs.get("repo"):
        yield from name_problems(f"{path}.repo", pfs["repo"])
    if pfs.get("commit"):
        yield f"{path}.commit", "an input is a branch, not a commit"
    if pfs.get("branch"):
        yield from name_problems(f"{path}.branch", pfs["branch"])
    yield from _trigger(pfs.get("trigger", {}), f"{path}.trigger")
    if pfs.get("glob"):
        yield from _reason(f"{path}.glob", lambda: compile_glob(pfs["glob"]))
    yield from _pfs_mode(pfs, path, parent)
    for kind, field in (("join", "joinOn"), ("group", "groupBy")):
        if parent == kind and not pfs.get(field):
            yield f"{path}.{field}", f"missing in a {kind}"
        if pfs.get(field) and parent != kind:
            yield f"{path}.{field}", f"only within a {kind}"


def _trigger(trigger: Mapping[str, Any], path: str) -> Iterator[Problem]:
    if trigger.get("size") and not _SIZE.fullmatch(trigger["size"]):
        yield f"{path}.size", f"{trigger['size']!r} is no size; write one such as 100MB"
    if trigger.get("cronSpec"):
        yield from _reason(f"{path}.cronSpec", lambda: cron.schedule(trigger["cronSpec"]))


def _pfs_mode(pfs: Mapping[str, Any], path: str, parent: str) -> Iterator[Problem]:
    if pfs.get("s3") and pfs.get("glob") != "/":
        yield f"{path}.glob", 'must be "/" with s3'
    if pfs.get("s3") and parent in ("join", "group", "union"):
        yield f"{path}.s3", f"not in a {parent}"
    for first, second in (("s3", "lazy"), ("s3", "emptyFiles"), ("lazy", "emptyFiles")):
        if pfs.get(first) and pfs.get(second):
            yield f"{path}.{second}", f"not together with {first}"


def _cron(node: Mapping[str, Any], path: str) -> Iterator[Problem]:
    if not node.get("name"):
        yield f"{path}.name", "missing"
    else:
        yield from name_problems(f"{path}.name", node["name"])
    if node.get("commit"):
        yield f"{path}.commit", "an input is a branch, not a commit"
    if not node.get("spec"):
        yield f"{path}.spec", 'missing; write five fields or "@every 10m"'
    else:
        yield from _reason(f"{path}.spec", lambda: cron.schedule(node["spec"]))


def _input_names(node: Mapping[str, Any], path: str, spec: Spec) -> Iterator[Problem]:
    for name in _twins(node):
        yield path, f"two inputs are called {name}; give one another name"
    for _, leaf in leaves(node):
        name = leaf.get("name") or ""
        if name in ("out", ".env"):
            yield path, f"an input cannot be called {name}: /pfs/{name} is taken"
        elif name and not VARIABLE.fullmatch(name):  # ours: it becomes an environment variable
            yield path, f"the name {name} is no name of a variable; give the input one, without dashes"
        elif name in _TAKEN or name in spec["transform"].get("env", {}):
            yield path, f"the name {name} would overwrite the environment variable"


def _twins(node: Mapping[str, Any]) -> list[str]:
    """Names that two inputs of one datum share. Branches of a union never meet in a datum, so they may."""

    def names(inner: Mapping[str, Any]) -> list[str]:
        found = [leaf.get("name") or "" for kind in ("pfs", "cron") if (leaf := inner.get(kind))]
        for kind in ("cross", "join", "group"):
            for child in inner.get(kind) or []:
                found += names(child)
        return found + sorted({name for child in inner.get("union") or [] for name in names(child)})

    found = names(node)
    within = [name for child in node.get("union") or [] for name in _twins(child)]
    return sorted({name for name in found if found.count(name) > 1} | set(within))


def name_problems(path: str, name: str) -> Iterator[Problem]:
    """What is wrong with the name of a pipeline, project, repo or branch."""
    if not _NAME.fullmatch(name):
        yield path, f"{name!r} is no name: letters, digits, _ and -, a letter or digit first"
    elif len(name) > LONGEST_NAME:
        yield path, f"{len(name)} characters long, {LONGEST_NAME} fit"


def _reason(path: str, attempt: Callable[[], object]) -> Iterator[Problem]:
    try:
        attempt()
    except PachydermError as error:
        yield path, str(error)
