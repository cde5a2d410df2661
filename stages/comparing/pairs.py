"""Two runs' rows, put together row by row."""

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.errors import InputError
from stages.csvs.answered import Choice, Names, Parts, Row, answered_files, files_of_both, read_file


@dataclass(frozen=True, slots=True)
class Side:
    """What one run says of a row. The passage is kept as its hash: it is the larger part of most files."""

    choice: Choice
    error: str
    model: str
    expected: str | None
    asked: int

    @property
    def verdict(self) -> tuple[str, int | None, int | None, str]:
        """What two runs are compared by."""
        return self.choice.text, self.choice.start, self.choice.end, self.error


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that both runs have; `question` is that of the second."""

    file: str
    row: int
    question: str
    a: Side
    b: Side

    @property
    def is_comparable(self) -> bool:
        """Whether both runs were asked the same question about the same passage."""
        return self.a.asked == self.b.asked

    @property
    def agrees(self) -> bool:
        """Whether both runs say the same, at the same place."""
        return self.a.verdict == self.b.verdict

    @property
    def expected(self) -> str | None:
        """The right answer, where it is known; the first run's where the two files say different ones."""
        return self.b.expected if self.a.expected is None else self.a.expected


def side_of(row: Row, expected_column: str) -> Side:
    """What a comparison needs of a row."""
    asked = hash((row.question, row.context))
    return Side(row.best, row.error, row.model, row.own.get(expected_column), asked)


@dataclass(slots=True)
class Pairing:
    """The pairs of two runs in the order of files and rows; one file of one run is in memory at a time.

    Parts of one file belong together, wherever either run has cut it.
    """

    options: argparse.Namespace
    only_a: int = 0
    only_b: int = 0
    files: int = 0
    failed: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Pair]:
        a, b = files_of_both(self.options.a, self.options.b)
        for file in sorted({**a, **b}):
            self.files += 1
            try:
                yield from self._pairs(file, a.get(file, {}), b.get(file, {}))
            except InputError as error:
                logging.error("%s", error)
                self.failed.append(file)

    def _pairs(self, file: str, a: Parts, b: Parts) -> list[Pair]:
        """The pairs of one file, all or none: of a damaged file no row counts as missing. Raises InputError."""
        sides = {key: side for key, (side, _) in self._sides(file, a).items()}
        others = self._sides(file, b)
        pairs = [
            Pair(file, key, question, sides[key], side) for key, (side, question) in others.items() if key in sides
        ]
        self.only_a += len(sides) - len(pairs)
        self.only_b += len(others) - len(pairs)
        return pairs

    def _sides(self, file: str, parts: Parts) -> dict[int, tuple[Side, str]]:
        """What one run says of a file's rows, by their number. Raises InputError, with the CSV's name."""
        names = Names.of(self.options)
        sides: dict[int, tuple[Side, str]] = {}
        for name, path in parts.items():
            try:
                for row in read_file(file, name, path, names):
                    if row.row in sides:
                        remedy = "remove the part that an earlier run left"
                        raise InputError("another part of this file has the row, too", row=row.row, remedy=remedy)
                    sides[row.row] = side_of(row, self.options.expected), row.question
            except InputError as error:
                raise InputError(f"{path}: {error.place}{error.reason}", remedy=error.remedy) from error
        return sides


def nothing_to_compare(options: argparse.Namespace, otherwise: Pair | None) -> str:
    """Why two runs have no row to compare, and what to do; `otherwise` is the first row that asks something else."""
    if otherwise:
        return (
            f"{options.a} and {options.b} ask something else in every row that both have, first in {otherwise.file}, "
            f"row {otherwise.row}; name two runs over the same files, with their rows in the same order"
        )
    for folder in (options.a, options.b):
        if not answered_files(folder):
            return f"{folder}: no CSV in it; compare reads what the answer stage writes with --format csv, its default"
    return f"{options.a} and {options.b} have no row in common; name two runs over the same files"
