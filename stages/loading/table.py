"""Answered CSVs into the table, inside the caller's transaction: their earlier rows go, COPY brings the new ones.

Of two versions of a file that are loaded, the one whose transaction comes last stays, so nothing may load the older one
after the newer. In plain runs `stages.loading.run` sees to it: once it is its turn, a loader takes what is at the path
then. On Pachyderm a datum has files of its own, which tell nothing of their age, and what keeps the order is the worker
(pachyderm/pachyderm, 2.x, src/server/worker/pipeline/transform):

- Jobs of a pipeline start in their order, and a job keeps its place until its output commit is finished; there are as
  many places as workers, which are two for `load` (registry.go: startJob, limiter, superviseJob).
- A job's base is the last one before it that has not failed (pending_job.go: load). Of two that are under way the older
  is the base of the newer, or has failed, which it does after its last datum. A path that both have is loaded by the
  newer one when its base has ended (withSerialDatums); only paths that the base lacks need not wait
  (withParallelDatums). So no path is ever loaded by two jobs at once, and the newer job comes last.
- Parts of one file are different paths, and rows of one are not rows of another until `--shard-rows` changes, which
  makes a new version of the pipeline: the jobs of the old one end before (`answermill deploy` waits for them).

A process that nobody reaches any more is under none of these rules: its node was cut off from Kubernetes but not from
the database, or stood still, and its job ended without it. `check_latest` stops it.

With three places this is not so: a file that is there, gone and there again is not in the base of the third job, and
the first may still be loading it. So `answermill check` warns of a third worker. tests/support/ticks.py plays these
rules, in all orders.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg import sql

from runtime.errors import InputError
from stages.common.names import Origin, enumeration, utf8
from stages.loading import memory
from stages.loading.copying import AnsweredCsv, columns_of, prefetch, row_of_line
from stages.loading.deleting import as_due, delete_rows, kept_files
from stages.loading.failures import one_line, remedy, shorten
from stages.loading.files import check_latest
from stages.loading.memory import Entry
from stages.loading.ranges import Range, overlaps, rows_due, rows_left
from stages.loading.small import rows_of_each
from stages.loading.target import Target


class CsvCounts(NamedTuple):
    """Rows of one CSV: those it has now, and those that were in their place; whether they were left as they are."""

    rows: int
    before: int
    unchanged: bool = False


class TableLoader:
    """Replaces rows of one table.

    Attributes:
        connection: in a transaction of the caller's.
        target: with its schema resolved.
        keep: whether rows that are there stay, whatever they hold.

    """

    def __init__(self, connection: psycopg.Connection, target: Target, keep: bool = False) -> None:
        self.connection = connection
        self.target = target
        self.keep = keep
        self._settings = memory.settings_of(target)

    def load(
        self,
        csvs: Sequence[AnsweredCsv],
        locked: Callable[[], object],
        copied: Callable[[AnsweredCsv], object],
    ) -> list[CsvCounts]:
        """Replaces the rows of each CSV that has changed; all that are given share the transaction.

        `locked` is called once no other loader can write these files; what it raises ends the load. `copied` is called
        for each CSV before its entry is stamped. Raises InputError for a CSV that breaks a rule, psycopg.Error for what
        the server refuses, DatabaseError where newer rows are in a datum's place.
        """
        # The second of two loaders of one file finds the rows of the first.
        memory.take_turns(self.connection, {csv.origin.file for csv in csvs})
        locked()
        known: dict[str, list[Entry]] = defaultdict(list)
        for entry in memory.entries(self.connection, self.target, {csv.origin.file for csv in csvs}):
            known[entry.origin.file].append(entry)
        check_latest(csvs, known)
        overlapping = overlaps(csvs)
        same = self._unchanged_rows([csv for csv in csvs if csv.origin not in overlapping], known)
        changed = [csv for csv in csvs if csv.origin not in same]
        before = self._delete(changed, known)
        rows = self._copy(changed)
        for csv in csvs:
            copied(csv)
        # Of a CSV with rows that are skipped an entry owns their places too, or its last rows would be nobody's.
        now = {**same, **{csv.origin: csv.rows for csv in changed}}
        written = [
            Entry(csv.origin, utf8(csv.path), csv.sha256, csv.size, now[csv.origin], self._settings)
            for csv in csvs
            if csv.origin not in same or not self.keep
        ]
        there = {entry.origin for entries in known.values() for entry in entries}
        left = rows_left(changed, known)
        memory.forget(self.connection, self.target, [entry.origin for entry in left])
        # Of its content a part is left, so the digest is no longer that of its rows.
        heads = [entry._replace(rows=rows, sha256="") for entry, rows in left.items() if rows]
        memory.write(self.connection, self.target, [*heads, *written], there)
        return [
            CsvCounts(same[csv.origin], same[csv.origin], unchanged=True)
            if csv.origin in same
            else CsvCounts(rows[csv.origin], before.get(csv.origin, 0))
            for csv in csvs
        ]

    def _unchanged_rows(self, csvs: Sequence[AnsweredCsv], known: dict[str, list[Entry]]) -> dict[Origin, int]:
        """The rows of each CSV whose very content was loaded and is still there, and with `keep` of each that is."""
        candidates = {}
        for csv in csvs:
            entry = next((entry for entry in known[csv.origin.file] if entry.origin == csv.origin), None)
            content = (csv.sha256, csv.size, self._settings)
            if self.keep or (entry and (entry.sha256, entry.size, entry.settings) == content):
                last = csv.origin.first_row + (entry.rows if entry and not self.keep else csv.rows)
                candidates[csv.origin] = (Range(csv.origin.file, csv.origin.first_row, last), entry)
        if not candidates:
            return {}
        # Rows may have been deleted by hand since; counting 500,000 takes a tenth of loading them.
        counted = self.connection.execute(
            sql.SQL(
                "select due.file, due.first, (select pg_catalog.count(*) from {} as kept "
                "where kept.file operator(pg_catalog.=) due.file and kept.row operator(pg_catalog.>=) due.first "
                "and kept.row operator(pg_catalog.<) due.last) from {}"
            ).format(self.target.identifier, as_due([where for where, _ in candidates.values()]))
        )
        there = {Origin(file, first): int(rows) for file, first, rows in counted}
        if self.keep:
            return {origin: rows for origin, rows in there.items() if rows}
        return {
            origin: there[origin] for origin, (_, entry) in candidates.items() if entry and entry.rows == there[origin]
        }

    def _delete(self, csvs: Sequence[AnsweredCsv], known: dict[str, list[Entry]]) -> dict[Origin, int]:
        """Deletes what stands where the rows of these CSVs go. Returns how many rows each of them had."""
        if not csvs:
            return {}
        ranges = [rows_due(csv, known[csv.origin.file]) for csv in csvs]
        before = delete_rows(self.connection, self.target, ranges)
        self._check_deleted(csvs, ranges, before, known)
        return before

    def _check_deleted(
        self,
        csvs: Sequence[AnsweredCsv],
        ranges: Sequence[Range],
        before: Mapping[Origin, int],
        known: Mapping[str, Sequence[Entry]],
    ) -> None:
        """Raises InputError for a file of which the table keeps rows that were deleted.

        Those with fewer rows than their entry says are looked at: somebody may have deleted the others by hand.
        """
        entries = {entry.origin: entry.rows for csv in csvs for entry in known[csv.origin.file]}
        fewer = [
            where
            for csv, where in zip(csvs, ranges, strict=True)
            if before.get(csv.origin, 0) < entries.get(csv.origin, 0)
        ]
        if fewer and kept_files(self.connection, self.target, fewer):
            raise InputError(
                "its earlier rows stay in the table, since a trigger or a rule there keeps what is deleted",
                remedy="drop that trigger or rule, which psql shows with \\d, and load it again",
            )

    def _copy(self, csvs: Sequence[AnsweredCsv]) -> dict[Origin, int]:
        """Sends the rows, one COPY for all CSVs with the same columns. Returns how many rows each has."""
        groups: dict[tuple[str, ...], list[AnsweredCsv]] = defaultdict(list)
        columns_by_header: dict[tuple[str, ...], tuple[str, ...]] = {}
        for csv in csvs:
            if csv.header not in columns_by_header:
                columns_by_header[csv.header] = columns_of(csv, self.target)
            groups[columns_by_header[csv.header]].append(csv)
        for columns, group in groups.items():
            with self.connection.cursor() as cursor:
                with cursor.copy(self._copy_statement(columns)) as copy:
                    # PostgreSQL counts the line breaks inside a first line wrongly, and its number leads to the row.
                    copy.write(b"header\n")
                    for block in prefetch(rows_of_each(group, self.target)):
                        copy.write(block)
                self._check_count(cursor.rowcount, group)
        return {csv.origin: csv.rows - len(csv.skipped) for csv in csvs}

    def _check_count(self, copied: int, csvs: Sequence[AnsweredCsv]) -> None:
        """Warns of rows that the table did not take: a trigger may have put them into another one, or nowhere."""
        sent = sum(csv.rows - len(csv.skipped) for csv in csvs)
        if copied < sent:
            paths, table = enumeration([csv.path for csv in csvs], 3), self.target.table
            logging.warning("%s: triggers kept %d of %d rows out of the table %s", paths, sent - copied, sent, table)

    def _copy_statement(self, columns: Sequence[str]) -> sql.Composed:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        return sql.SQL("copy {} ({}) from stdin (format csv, header)").format(self.target.identifier, names)


def input_error(error: psycopg.Error, csv: AnsweredCsv, target: Target, encoding: str | None) -> InputError:
    """The server's refusal, with the row and the column of the CSV instead of a line of what was sent."""
    advice = remedy(error) if error.sqlstate == "57014" else "correct the value, or the column's type"
    if error.sqlstate == "22P05":
        advice = f"the database's encoding is {encoding}, which has no such character; load into one whose is UTF8"
    place = re.search(r", line (\d+)(?:, column ([^:]+))?", error.diag.context or "")
    if place is None:
        return InputError(one_line(error), remedy=advice)
    # A missing value is told of the row, not of the line's column.
    name = place[2] or error.diag.column_name
    column = name and target.names.get(name, name)
    reason = ": ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
    return InputError(shorten(reason), row=row_of_line(csv, target, int(place[1])), column=column, remedy=advice)
