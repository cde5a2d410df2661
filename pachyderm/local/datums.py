"""Datums: what a pipeline's input makes of commits, their ids and hashes, and the sets they are handed out in."""

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pachyderm.local.store.repos import Commit
from pachyderm.spec.globs import matches
from pachyderm.spec.inputs import Input, Pfs
from pachyderm.spec.reading import Pipeline


@dataclass(frozen=True, slots=True)
class DatumInput:
    """What one input gives to a datum: a file, or a folder with all below it.

    Attributes:
        name: name of the input.
        path: in the repo; a folder's ends in a slash.
        files: paths of the files that it stands for.
        hash: of the content, names left out.

    """

    name: str
    branch: str
    path: str
    commit: Commit
    files: tuple[str, ...]
    hash: str
    join_on: str = ""
    group_by: str = ""
    empty_files: bool = False
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Datum:
    """The unit of work."""

    inputs: tuple[DatumInput, ...]
    id: str
    hash: str

    @property
    def label(self) -> str:
        """Paths of its inputs, for people."""
        return " ".join(datum_input.path for datum_input in self.inputs)

    @property
    def size(self) -> int:
        """Bytes of its input."""
        return sum(datum_input.commit.files[path].size for datum_input in self.inputs for path in datum_input.files)


def datums(pipeline: Pipeline, commits: Mapping[str, Commit], salt: str) -> list[Datum]:
    """The datums of a job on these commits (by repo), in order. Raises PachydermError for a bad glob."""
    by_id: dict[str, Datum] = {}
    for inputs in _combinations(pipeline.input, commits):
        datum_id = _id(inputs)
        by_id[datum_id] = Datum(inputs, datum_id, _hash(datum_id, inputs, salt))
    return list(by_id.values())


def cut_into_sets(work: Sequence[Datum], pipeline: Pipeline, workers: int) -> list[list[Datum]]:
    """Cuts the datums to be done into the sets that workers take one by one."""
    number = pipeline.set_number
    if not number and not pipeline.set_bytes:
        number = max(1, len(work) // (workers * pipeline.sets_per_worker))
    sets: list[list[Datum]] = []
    size = 0
    for datum in work:
        full = sets and (len(sets[-1]) == number or (pipeline.set_bytes and size >= pipeline.set_bytes))
        if full or not sets:
            sets.append([])
            size = 0
        sets[-1].append(datum)
        size += datum.size
    return sets


# The inputs of a datum that is being put together.
Combination = tuple[DatumInput, ...]


def _combinations(node: Input, commits: Mapping[str, Commit]) -> list[Combination]:
    if node.cron:
        return _leaf(Pfs(name=node.cron.name, glob="/*"), commits[node.cron.repo])
    if node.pfs:
        return _leaf(node.pfs, commits[node.pfs.repo])
    for inner, combine in ((node.cross, _cross), (node.union, _union), (node.join, _join), (node.group, _group)):
        if inner:
            children = [_combinations(child, commits) for child in inner]
            outer = [child.pfs is not None and child.pfs.outer_join for child in inner]
            return combine(children, outer)
    return []


def _leaf(pfs: Pfs, commit: Commit) -> list[Combination]:
    combinations: list[Combination] = []
    for path, groups in matches(pfs.glob, commit.files):
        inside = sorted(name for name in commit.files if name.startswith(path)) if path.endswith("/") else [path]
        datum_input = DatumInput(
            name=pfs.name,
            branch=pfs.branch,
            path=path,
            commit=commit,
            files=tuple(inside),
            hash=commit.files[path].hash if path in commit.files else _blake(commit.files[f].hash for f in inside),
            join_on=_fill(pfs.join_on, groups),
            group_by=_fill(pfs.group_by, groups),
            empty_files=pfs.empty_files,
            reference=pfs.reference,
        )
        combinations.append((datum_input,))
    return combinations


def _fill(template: str, groups: Sequence[str]) -> str:
    """`$1` and `${1}` replaced by what the glob's groups captured."""

    def group(match: re.Match[str]) -> str:
        index = int(match[1] or match[2])
        return groups[index - 1] if 0 < index <= len(groups) else ""

    return re.sub(r"\$(?:(\d+)|\{(\d+)\})", group, template)


def _cross(children: Sequence[list[Combination]], _outer: Sequence[bool]) -> list[Combination]:
    by_name = sorted(children, key=lambda combinations: combinations[0][0].name if combinations else "")
    return [tuple(itertools.chain(*combination)) for combination in itertools.product(*by_name)]


def _union(children: Sequence[list[Combination]], _outer: Sequence[bool]) -> list[Combination]:
    return [combination for combinations in children for combination in combinations]


def _join(children: Sequence[list[Combination]], outer: Sequence[bool]) -> list[Combination]:
    """Combinations of equal `joinOn`; those of an outer input also where the others have none."""
    keyed = [_by_key(combinations, lambda datum_input: datum_input.join_on) for combinations in children]
    joined: list[Combination] = []
    for key in sorted({key for combinations in keyed for key in combinations}):
        sides = [combinations.get(key, []) for combinations in keyed]
        if not all(sides):
            sides = [side for side, kept in zip(sides, outer, strict=True) if side and kept]
        if sides:
            joined += _cross(sides, outer)
    return joined


def _group(children: Sequence[list[Combination]], _outer: Sequence[bool]) -> list[Combination]:
    """One combination for all inputs of equal `groupBy`."""
    keyed = _by_key(_union(children, ()), lambda datum_input: datum_input.group_by)
    return [tuple(itertools.chain(*keyed[key])) for key in sorted(keyed)]


def _by_key(combinations: Sequence[Combination], key: Callable[[DatumInput], str]) -> dict[str, list[Combination]]:
    keyed: dict[str, list[Combination]] = defaultdict(list)
    for combination in combinations:
        keyed[key(combination[0])].append(combination)
    return keyed


def _id(inputs: Sequence[DatumInput]) -> str:
    """Pachyderm's own: names and places, not content. Each text is followed by its length, big-endian."""
    hashed = hashlib.blake2b(digest_size=32)
    for datum_input in inputs:
        for text in (datum_input.name, datum_input.commit.repo, datum_input.branch, datum_input.path):
            hashed.update(text.encode() + len(text.encode()).to_bytes(8, "big"))
    return hashed.hexdigest()


def _hash(datum_id: str, inputs: Sequence[DatumInput], salt: str) -> str:
    return _blake([datum_id, *(datum_input.hash for datum_input in inputs if not datum_input.reference), salt])


def _blake(texts: Any) -> str:
    hashed = hashlib.blake2b(digest_size=32)
    for text in texts:
        hashed.update(text.encode())
    return hashed.hexdigest()
