"""Two runs' rows, put together row by row."""

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.errors import InputError
from stages.comparing.options import CompareOptions
from stages.csvs.answered import AnsweredRow, Choice, Parts, read_file


@dataclass(frozen=True, slots=True)
class Side:
    """What one run says of a row."""

    choice: Choice
    error: str
    model: str
    expected: str | None
    question: str
    context: str

    @property
    def verdict(self) -> tuple[str, int | None, int | None, str]:
        """What two runs are compared by."""
        return self.choice.text, self.choice.start, self.choice.end, self.error


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that both runs have."""

    file: str
    row: int
    a: Side
    b: Side

    @property
    def is_comparable(self) -> bool:
        """Whether both runs were asked the same question about the same passage."""
        return (self.a.question, self.a.context) == (self.b.question, self.b.context)

    @property
    def agrees(self) -> bool:
        """Whether both runs say the same, at the same place."""
        return self.a.verdict == self.b.verdict

    @property
    def differs(self) -> bool:
        """Whether two runs that were asked the same answer differently."""
        return self.is_comparable and not self.agrees

    @property
    def expected(self) -> str | None:
        """The right answer, where it is known; the first run's where the two files say different ones."""
        return self.b.expected if self.a.expected is None else self.a.expected


def side_of(row: AnsweredRow, expected_column: str) -> Side:
    """What a comparison needs of a row."""
    return Side(row.best, row.error, row.model, row.own.get(expected_column), row.question, row.context)


class FilePairs:
    """The pairs of one file, in the order of its rows, of which it holds one at a time.

    Parts of the file belong together, wherever either run has cut it. Raises InputError, with the CSV's name.

    Attributes:
        only: how many rows the first run alone has, and the second, once all pairs are drawn.

    """

    def __init__(self, file: str, a: Parts, b: Parts, options: CompareOptions) -> None:
        self.only = [0, 0]
        self._file = file
        self._options = options
        self._runs = self._sides(a), self._sides(b)

    def __iter__(self) -> Iterator[Pair]:
        sides = [next(run, None) for run in self._runs]
        while (a := sides[0]) and (b := sides[1]):
            if a[0] == b[0]:
                yield Pair(self._file, a[0], a[1], b[1])
                sides = [next(run, None) for run in self._runs]
            else:
                first = int(b[0] < a[0])
                self.only[first] += 1
                sides[first] = next(self._runs[first], None)
        for index, run in enumerate(self._runs):
            self.only[index] += bool(sides[index]) + sum(1 for _ in run)

    def _sides(self, parts: Parts) -> Iterator[tuple[int, Side]]:
        """What one run says of the file's rows, with their numbers, which rise."""
        names, last = self._options.names, 0
        for name, path in parts.items():
            try:
                for row in read_file(self._file, name, path, names):
                    if row.row <= last:
                        remedy = "remove the part that an earlier run left"
                        raise InputError("another part of this file has the row, too", row=row.row, remedy=remedy)
                    last = row.row
                    yield last, side_of(row, self._options.expected)
            except InputError as error:
                raise InputError(f"{path}: {error.place}{error.reason}", remedy=error.remedy) from error
