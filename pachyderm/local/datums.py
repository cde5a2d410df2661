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
class Piece:
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

    pieces: tuple[Piece, ...]
    id: str
    hash: str

    @property
    def label(self) -> str:
        """Paths of its pieces, for people."""
        return " ".join(piece.path for piece in self.pieces)

    @property
    def size(self) -> int:
        """Bytes of its input."""
        return sum(piece.commit.files[path].size for piece in self.pieces for path in piece.files)


def datums(pipeline: Pipeline, commits: Mapping[str, Commit], salt: str) -> list[Datum]:
    """The datums of a job on these commits (by repo), in order. Raises PachydermError for a bad glob."""
    by_id: dict[str, Datum] = {}
    for pieces in _rows(pipeline.input, commits):
        datum_id = _id(pieces)
        by_id[datum_id] = Datum(pieces, datum_id, _hash(datum_id, pieces, salt))
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


Row = tuple[Piece, ...]


def _rows(node: Input, commits: Mapping[str, Commit]) -> list[Row]:
    if node.cron:
        return _leaf(Pfs(name=node.cron.name, glob="/*"), commits[node.cron.repo])
    if node.pfs:
        return _leaf(node.pfs, commits[node.pfs.repo])
    for inner, combined in ((node.cross, _cross), (node.union, _union), (node.join, _join), (node.group, _group)):
        if inner:
            children = [_rows(child, commits) for child in inner]
            outer = [child.pfs is not None and child.pfs.outer_join for child in inner]
            return combined(children, outer)
    return []


def _leaf(pfs: Pfs, commit: Commit) -> list[Row]:
    rows: list[Row] = []
    for path, groups in matches(pfs.glob, commit.files):
        inside = sorted(name for name in commit.files if name.startswith(path)) if path.endswith("/") else [path]
        piece = Piece(
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
        rows.append((piece,))
    return rows


def _fill(template: str, groups: Sequence[str]) -> str:
    """`$1` and `${1}` replaced by what the glob's groups captured."""

    def group(match: re.Match[str]) -> str:
        index = int(match[1] or match[2])
        return groups[index - 1] if 0 < index <= len(groups) else ""

    return re.sub(r"\$(?:(\d+)|\{(\d+)\})", group, template)


def _cross(children: Sequence[list[Row]], _outer: Sequence[bool]) -> list[Row]:
    by_name = sorted(children, key=lambda rows: rows[0][0].name if rows else "")
    return [tuple(itertools.chain(*row)) for row in itertools.product(*by_name)]


def _union(children: Sequence[list[Row]], _outer: Sequence[bool]) -> list[Row]:
    return [row for rows in children for row in rows]


def _join(children: Sequence[list[Row]], outer: Sequence[bool]) -> list[Row]:
    """Rows of equal `joinOn`; those of an outer input also where the others have none."""
    keyed = [_by_key(rows, lambda piece: piece.join_on) for rows in children]
    joined: list[Row] = []
    for key in sorted({key for rows in keyed for key in rows}):
        sides = [rows.get(key, []) for rows in keyed]
        if not all(sides):
            sides = [side for side, kept in zip(sides, outer, strict=True) if side and kept]
        if sides:
            joined += _cross(sides, outer)
    return joined


def _group(children: Sequence[list[Row]], _outer: Sequence[bool]) -> list[Row]:
    """One row for all pieces of equal `groupBy`."""
    keyed = _by_key(_union(children, ()), lambda piece: piece.group_by)
    return [tuple(itertools.chain(*keyed[key])) for key in sorted(keyed)]


def _by_key(rows: Sequence[Row], key: Callable[[Piece], str]) -> dict[str, list[Row]]:
    keyed: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        keyed[key(row[0])].append(row)
    return keyed


def _id(pieces: Sequence[Piece]) -> str:
    """Pachyderm's own: names and places, not content. Each text is followed by its length, big-endian."""
    hashed = hashlib.blake2b(digest_size=32)
    for piece in pieces:
        for text in (piece.name, piece.commit.repo, piece.branch, piece.path):
            hashed.update(text.encode() + len(text.encode()).to_bytes(8, "big"))
    return hashed.hexdigest()


def _hash(datum_id: str, pieces: Sequence[Piece], salt: str) -> str:
    return _blake([datum_id, *(piece.hash for piece in pieces if not piece.reference), salt])


def _blake(texts: Any) -> str:
    hashed = hashlib.blake2b(digest_size=32)
    for text in texts:
        hashed.update(text.encode())
    return hashed.hexdigest()
