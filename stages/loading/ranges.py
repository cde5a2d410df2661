"""Which rows of a table belong to which parts of a file: arithmetic, without the table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from stages.common.names import Origin
from stages.loading.copying import AnsweredCsv
from stages.loading.memory import Entry


class Range(NamedTuple):
    """Rows of a file from `first` up to `end`, which is not among them; without an end, to the last."""

    file: str
    first: int
    end: int | None


def rows_due(csv: AnsweredCsv, known: Sequence[Entry]) -> Range:
    """Where the CSV's rows go, with the rows that it had and those of parts that it overlaps.

    A file without other parts takes all that there is from its first row on.
    """
    file, first = csv.origin
    others = [entry for entry in known if entry.origin != csv.origin]
    if not others:
        return Range(file, first, None)
    own = [entry.end for entry in known if entry.origin == csv.origin]
    end = max([first + csv.rows, *own])
    return Range(file, first, max([end, *(entry.end for entry in _entries_within(first, end, others))]))


def rows_left(csvs: Sequence[AnsweredCsv], known: Mapping[str, Sequence[Entry]]) -> dict[Entry, int]:
    """The other parts that these CSVs overlap, and how many rows are left of each; 0 for none.

    A part may be overlapped by several of them. What is left of it ends where the first of them begins.
    """
    mine = {csv.origin for csv in csvs}
    left: dict[Entry, int] = {}
    for csv in csvs:
        first = csv.origin.first_row
        others = [entry for entry in known[csv.origin.file] if entry.origin not in mine]
        for entry in _entries_within(first, first + csv.rows, others):
            left[entry] = max(0, min(first - entry.origin.first_row, left.get(entry, entry.rows)))
    return left


def overlaps(csvs: Iterable[AnsweredCsv]) -> set[Origin]:
    """The CSVs that have rows of another one: a killed run of ingest has left parts of two sizes."""
    shared: set[Origin] = set()
    # The part that goes on longest, and the row behind it.
    longest, last = Origin("", 0), 0
    for csv in sorted((csv for csv in csvs if csv.rows), key=lambda csv: csv.origin):
        end = csv.origin.first_row + csv.rows
        if csv.origin.file == longest.file and csv.origin.first_row < last:
            shared |= {csv.origin, longest}
        if csv.origin.file != longest.file or end > last:
            longest, last = csv.origin, end
    return shared


def _entries_within(first: int, end: int, others: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in others if entry.origin.first_row < end and entry.end > first]
