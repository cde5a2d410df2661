"""Two runs, file by file: what they add up to, and the first rows that differ."""

import logging
from dataclasses import dataclass, field

from runtime.errors import InputError
from stages.comparing.counts import Counts
from stages.comparing.options import CompareOptions
from stages.comparing.pairs import FilePairs, Pair
from stages.csvs.answered import Parts, answered_files, files_of_both


@dataclass(slots=True)
class Comparison:
    """What comes out of the options of `compare`.

    Attributes:
        shown: the first rows that differ, as many as are wanted.
        failed: files of which a CSV breaks a rule; no row of them counts.

    """

    options: CompareOptions
    counts: Counts = field(default_factory=Counts)
    shown: list[Pair] = field(default_factory=list)
    files: int = 0
    failed: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Reads both runs; logs what is wrong with a file. Raises AnswermillError."""
        a, b = files_of_both(self.options.a, self.options.b)
        for file in sorted({**a, **b}):
            self.files += 1
            try:
                self._read_file(file, a.get(file, {}), b.get(file, {}))
            except InputError as error:
                logging.error("%s", error)
                self.failed.append(file)

    def _read_file(self, file: str, a: Parts, b: Parts) -> None:
        """Counts a file completely or not at all, since rows of a damaged file are not missing. Raises InputError."""
        counts, differing = Counts(), list[Pair]()
        pairs = FilePairs(file, a, b, self.options)
        for pair in pairs:
            counts.add(pair)
            if len(self.shown) + len(differing) < self.options.limit and pair.differs:
                differing.append(pair)
        counts.only = pairs.only
        self.counts.add_file(counts)
        self.shown += differing

    def nothing_to_compare(self) -> str:
        """Why the runs have no row to compare, or few that match by accident, and what to do."""
        a, b, others = self.options.a, self.options.b, self.counts.asked_otherwise
        if otherwise := self.counts.first_otherwise:
            return (
                f"{a} and {b} ask different questions in {others} of the {others + self.counts.rows} rows that both "
                f"have, first in {otherwise.file}, row {otherwise.row}; name two runs over the same files, with their "
                "rows in the same order"
            )
        for folder in (a, b):
            if not answered_files(folder):
                return (
                    f"{folder}: no CSV in it; compare reads what the answer stage writes with --format csv, its default"
                )
        return f"{a} and {b} have no row in common; name two runs over the same files"
