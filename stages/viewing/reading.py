"""The rows of the runs that a page is about, read file by file; of two runs the rows of both at the same time."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import InputError
from stages.csvs.answered import AnsweredRow, Names, Parts, read_file
from stages.viewing.survey import NAME, Glimpse, Judged, Survey, cut, glimpse, judge_row


@dataclass(slots=True)
class CsvRun:
    """A run in CSVs.

    Attributes:
        source: what was named; the page tells files that cannot be read by it.
        parts: its CSVs, by the user's file that they are parts of.
        files: how many CSVs were opened.
        failed: what was wrong with those that break a rule, by name.

    """

    source: Path
    parts: Mapping[str, Parts]
    names: Names
    files: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[AnsweredRow]:
        for file in self.parts:
            yield from self.rows_of(file)

    def rows_of(self, file: str) -> Iterator[AnsweredRow]:
        """The rows of a file in order, as far as they can be read; none if the run lacks the file."""
        for name, path in self.parts.get(file, {}).items():
            self.files += 1
            try:
                yield from read_file(file, name, path, self.names)
            except InputError as error:
                logging.error("%s: %s", name, error)
                self.failed[name] = str(error)

    def failures(self) -> list[tuple[str, str]]:
        """The files that could not be read whole, and why, for the page."""
        return [(cut(f"{self.source.name}: {name}", NAME), cut(reason, NAME)) for name, reason in self.failed.items()]


class OtherRun:
    """The run to compare with, read along with the page's own, so that one row of it is in memory at a time.

    Attributes:
        counts: the survey of its rows; complete after `finish`.
        only_there: how many rows it has that the page's run lacks.

    """

    def __init__(self, run: CsvRun, expected_column: str) -> None:
        self.counts = Survey()
        self.only_there = 0
        self._run = run
        self._expected_column = expected_column
        self._left = dict.fromkeys(run.parts)
        self._file: str | None = None
        self._rows: Iterator[AnsweredRow] = iter(())
        self._next: AnsweredRow | None = None

    def glimpse_of(self, row: AnsweredRow) -> Glimpse | None:
        """Its answer to this row; rows are asked for file by file, and those of a file in order."""
        if row.file != self._file:
            self._pass_over(None)
            self._open(row.file)
        self._pass_over(row.row)
        return glimpse(self._take(self._next)) if self._next and self._next.row == row.row else None

    def finish(self) -> None:
        """Counts the rows that were not asked for."""
        self._pass_over(None)
        for file in [*self._left]:
            self._open(file)
            self._pass_over(None)

    def _open(self, file: str) -> None:
        is_new = file in self._left
        self._left.pop(file, None)
        self._file, self._rows = file, self._run.rows_of(file) if is_new else iter(())
        self._next = next(self._rows, None)

    def _pass_over(self, row: int | None) -> None:
        while self._next and (row is None or self._next.row < row):
            self._take(self._next)
            self.only_there += 1

    def _take(self, row: AnsweredRow) -> Judged:
        known = judge_row(row, self._expected_column)
        self.counts.add(known)
        self._next = next(self._rows, None)
        return known
