"""Answered rows, as a page shows them, out of CSVs that `answer` wrote."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from runtime.errors import InputError
from stages.common.inputs import named_input
from stages.common.names import REJECTED, origin_of
from stages.csvs.columns import ANSWER_COLUMNS, RANK, own_name

Fields = Mapping[str, str | None]
Number = TypeVar("Number", int, float)
# Bundles older than the confidence curve, and tables made before it, have none.
OPTIONAL = "confidence"


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer to a row; `start` and `end` are code points of the context, end exclusive."""

    text: str
    score: float | None
    confidence: float | None
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """One row of a user's file with its answer; `others` are the further ranks, `own` the user's other columns."""

    file: str
    row: int
    question: str
    context: str
    best: Choice
    error: str
    model: str
    own: Mapping[str, str] = field(default_factory=dict)
    others: tuple[Choice, ...] = ()

    @property
    def key(self) -> tuple[str, int]:
        """What names the row in every run over the same files."""
        return self.file, self.row


@dataclass(frozen=True, slots=True)
class Names:
    """What the columns are called: the questions, the contexts, and the prefix of the added ones.

    Attributes:
        kept: a column of the user's whose blank fields say something, too.

    """

    question: str = "question"
    context: str = "context"
    prefix: str = ""
    kept: str | None = None

    @classmethod
    def of(cls, question: str, context: str, prefix: str, expected: str, blank_is_no_answer: bool) -> "Names":
        """The names that the options of a command give, if it judges answers by a column `expected`."""
        return cls(question, context, prefix, expected if blank_is_no_answer else None)

    @property
    def required(self) -> list[str]:
        """Columns without which a CSV holds no answers."""
        return [self.question, self.context, *(self.prefix + name for name in ANSWER_COLUMNS if name != OPTIONAL)]

    @property
    def ours(self) -> frozenset[str]:
        """Every column that is not one of the user's own."""
        return frozenset((*self.required, self.prefix + OPTIONAL))


Parts = Mapping[str, Path]


def answered_files(source: Path) -> dict[str, Parts]:
    """The CSVs of a run by the user's file that they are parts of, in the order of files and rows.

    Those of a folder, of a part of one, or the one, without ingest's notes on rejected objects. Raises AnswermillError.
    """
    return _by_file(named_input(source).files)


def files_of_both(a: Path, b: Path) -> tuple[dict[str, Parts], dict[str, Parts]]:
    """The CSVs of two runs, under names that tell which rows are the same. Raises AnswermillError.

    Two single CSVs are one file, whatever their names; and a copy of a part of a folder, which has no listing, is
    that part.
    """
    given, other = named_input(a), named_input(b)
    mine, others = _by_file(given.files), _by_file(other.files)
    if not a.is_dir() and not b.is_dir():
        return mine, dict(zip(mine, others.values(), strict=True))
    if b.is_dir() and given.subpath != other.subpath and not mine.keys() & others.keys():
        below = f"{given.subpath}/" if given.subpath else ""
        others = _by_file({below + path.relative_to(b).as_posix(): path for path in other.files.values()})
    return mine, others


def _by_file(csvs: Mapping[str, Path]) -> dict[str, Parts]:
    origins = {name: origin_of(name) for name in csvs if not name.startswith(f"{REJECTED}/")}
    files = groupby(sorted(origins, key=origins.__getitem__), lambda name: origins[name].file)
    return {file: {name: csvs[name] for name in parts} for file, parts in files}


def read_file(file: str, name: str, path: Path, names: Names) -> Iterator[AnsweredRow]:
    """The rows of one CSV, a part of the user's `file`, in order, those of `--top-k` put together again.

    Raises InputError, with the row.
    """
    header, records = _records(path, names.required)
    rank = _rank_column(header, names)
    ours = names.ours | {rank}
    row, last = origin_of(name).first_row, None
    for fields in records:
        if last and rank and _continues(last[1], fields, rank, names):
            last = replace(last[0], others=(*last[0].others, choice_of(fields, row - 1, names.prefix))), fields
            continue
        if last:
            yield last[0]
        last = row_of(fields, file, row, names, ours), fields
        row += 1
    if last:
        yield last[0]


def _records(path: Path, required: Sequence[str]) -> tuple[list[str], Iterator[Fields]]:
    """Header and records of a CSV."""
    from stages.csvs.reader import read_frames

    blocks = (block for block, _ in read_frames(path, required))
    first = next(blocks)

    def records() -> Iterator[Fields]:
        yield from first.iter_rows(named=True)
        for block in blocks:
            yield from block.iter_rows(named=True)

    return first.columns, records()


def _rank_column(header: Sequence[str], names: Names) -> str | None:
    """The column of ranks, which `answer` writes right before its answers; elsewhere the name is the user's."""
    before = header.index(names.prefix + "answer") - 1
    return names.prefix + RANK if before >= 0 and header[before] == names.prefix + RANK else None


def _continues(last: Fields, fields: Fields, rank: str, names: Names) -> bool:
    """Whether these fields are the next rank of the same row."""
    try:
        follows = int(fields[rank] or "") == int(last[rank] or "") + 1 > 1
    except ValueError:
        return False
    return follows and all(last[name] == fields[name] for name in (names.question, names.context))


def row_of(fields: Fields, file: str, row: int, names: Names, ours: Collection[str | None]) -> AnsweredRow:
    """A row out of its fields, of which `ours` are not the user's. Raises InputError for a number that is none."""
    return AnsweredRow(
        file,
        row,
        fields[names.question] or "",
        fields[names.context] or "",
        choice_of(fields, row, names.prefix),
        fields[names.prefix + "error"] or "",
        fields[names.prefix + "model"] or "",
        own_columns(fields, ours, names.kept),
    )


def own_columns(fields: Fields, ours: Collection[str | None], kept: str | None) -> dict[str, str]:
    """The user's columns under the user's names; empty ones are left out, but for the one that is `kept`."""
    own = {own_name(name): value or "" for name, value in fields.items() if name not in ours}
    return {name: value for name, value in own.items() if value or name == kept}


def choice_of(fields: Fields, row: int, prefix: str) -> Choice:
    """One answer out of the fields of a row or a rank. Raises InputError for a number that is none."""
    return Choice(
        fields[prefix + "answer"] or "",
        _number(fields, prefix + "score", row, float),
        _number(fields, prefix + "confidence", row, float),
        _number(fields, prefix + "start", row, int),
        _number(fields, prefix + "end", row, int),
    )


def _number(fields: Fields, column: str, row: int, read: Callable[[str], Number]) -> Number | None:
    text = fields.get(column)
    try:
        value = read(text) if text else None
    except ValueError:
        value = None
    if text and (value is None or not math.isfinite(value)):
        raise InputError(f"{text[:40]!r} is no number", row=row, column=column, remedy="answer the file again")
    return value
