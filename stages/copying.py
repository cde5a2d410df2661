"""One CSV into the table, in one transaction: its earlier rows go, COPY brings the new ones.

COPY goes straight into the table. Through a temporary table every row would be written twice, and the account would
need the right to make one; what a crash leaves is the same, because the transaction is.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import polars as pl
import psycopg
from psycopg import sql

from runtime.errors import InputError
from stages.faults import is_about_rows, one_line, remedy, shortened
from stages.scan import explain, scan
from stages.schema import Target

_PIECE = 4 << 20


class Counts(NamedTuple):
    """Rows of one file: those it has now, and those that it had before; whether they were left as they are."""

    rows: int
    before: int
    unchanged: bool = False


def replace_rows(
    connection: psycopg.Connection, target: Target, name: str, path: Path, remember: bool, keep: bool = False
) -> Counts:
    """Replaces the rows of one file, inside the caller's transaction. A file that was loaded before is left alone.

    `remember` uses the memory of what was loaded; `keep` leaves rows that are there, whatever they hold. Raises
    InputError for a CSV that breaks a rule or holds what the table cannot, psycopg.Error for every other refusal.
    """
    refuse_nul(path, list(target.names.values()))
    # Two loaders of one file take turns; the second finds the rows of the first.
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [name])
    if keep and (kept := count_rows(connection, target, name)):
        return Counts(kept, kept, unchanged=True)
    if remember and (known := remembered_rows(connection, target, name, path)) is not None:
        return Counts(known, known, unchanged=True)
    digest = hashlib.sha256()
    try:
        before = connection.execute(statement("delete from {} where file = {}", target.identifier, name))
        with connection.cursor() as cursor:
            with cursor.copy(copy_statement(target)) as copy:
                for block in ahead(blocks_to_copy(path, target, name, digest)):
                    copy.write(block)
            rows = cursor.rowcount
    except psycopg.Error as error:
        if not is_about_rows(error):
            raise
        raise input_error(error, path, target, name) from error
    if remember:
        write_memory(connection, target, name, path, digest.hexdigest(), rows)
    return Counts(rows, before.rowcount)


def copy_statement(target: Target) -> sql.Composed:
    """COPY with the columns of `blocks_to_copy`.

    With a header, because PostgreSQL counts the line breaks inside a first line wrongly, and its line number is what
    leads to the row.
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, ("file", "row", *target.names, "extra")))
    return sql.SQL("copy {} ({}) from stdin (format csv, header)").format(target.identifier, columns)


def blocks_to_copy(path: Path, target: Target, name: str, digest: "hashlib._Hash | None" = None) -> Iterator[bytes]:
    """The file's rows as CSV for COPY, a block at a time."""
    for index, frame in enumerate(frames_to_copy(path, target, name, digest)):
        yield frame.write_csv(include_header=index == 0, quote_style="necessary").encode()


def frames_to_copy(
    path: Path, target: Target, name: str, digest: "hashlib._Hash | None" = None
) -> Iterator[pl.DataFrame]:
    """The file's rows in the columns of the table: those that have one, and all others as JSON in `extra`."""
    row = 1
    for frame in scan(path, list(target.names.values()), digest):
        others = [column for column in frame.columns if column not in target.names.values()]
        yield frame.select(
            pl.lit(name).alias("file"),
            pl.int_range(row, row + pl.len()).alias("row"),
            *(pl.col(column).alias(known) for known, column in target.names.items()),
            (pl.struct(others).struct.json_encode() if others else pl.lit(None, pl.String)).alias("extra"),
        )
        row += frame.height


def ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks, each made while the one before is being sent: the server parses meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block


def refuse_nul(path: Path, required: list[str]) -> None:
    """Raises InputError if the file holds what no PostgreSQL can store, before anything is sent."""
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            if b"\0" in piece:
                explain(path, required)


def settings(target: Target) -> str:
    """What else decides about a file's rows, apart from its content."""
    return json.dumps({"names": dict(target.names), "types": dict(target.types)}, ensure_ascii=False, sort_keys=True)


def remembered_rows(connection: psycopg.Connection, target: Target, name: str, path: Path) -> int | None:
    """How many rows the file has, if this very content was loaded and they are still there; else None."""
    found = connection.execute(
        statement(
            "select sha256, rows from {} where file = {} and bytes = {} and settings = {}",
            target.memory,
            name,
            path.stat().st_size,
            settings(target),
        )
    ).fetchone()
    if found is None:
        return None
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != found[0]:
            return None
    # Rows may have been deleted by hand since; counting 500,000 takes a tenth of loading them.
    return int(found[1]) if count_rows(connection, target, name) == found[1] else None


def count_rows(connection: psycopg.Connection, target: Target, name: str) -> int:
    """How many rows of the file are in the table."""
    counted = connection.execute(statement("select count(*) from {} where file = {}", target.identifier, name))
    (rows,) = counted.fetchone() or (0,)
    return int(rows)


def write_memory(connection: psycopg.Connection, target: Target, name: str, path: Path, sha256: str, rows: int) -> None:
    """Remembers what was loaded, in the transaction that loads it."""
    connection.execute(statement("delete from {} where file = {}", target.memory, name))
    values = (name, sha256, path.stat().st_size, rows, settings(target))
    connection.execute(
        statement(
            "insert into {} (file, sha256, bytes, rows, settings) values ({}, {}, {}, {}, {})", target.memory, *values
        )
    )


def prune(connection: psycopg.Connection, target: Target, files: list[str], remember: bool) -> int:
    """Deletes the rows of every file that is not among `files`; rows without a file stay. Returns how many."""
    gone = "delete from {} where not file = any({}::text[])"
    if remember:
        connection.execute(statement(gone, target.memory, files))
    return connection.execute(statement(gone, target.identifier, files)).rowcount


def statement(text: str, table: sql.Identifier, *values: object) -> sql.Composed:
    """The statement about the table, with the values in it as literals.

    Not as parameters: beside those psycopg takes a `%` in the table's name for one of them.
    """
    return sql.SQL(text).format(table, *map(sql.Literal, values))


def input_error(error: psycopg.Error, path: Path, target: Target, name: str) -> InputError:
    """The server's refusal, with the row and the column of the CSV instead of a line of what was sent."""
    advice = remedy(error) if error.sqlstate == "57014" else "correct the value, or the column's type"
    place = re.search(r", line (\d+)(?:, column ([^:]+))?", error.diag.context or "")
    if place is None:
        return InputError(one_line(error), remedy=advice)
    column = place[2] and target.names.get(place[2], place[2])
    reason = ": ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
    return InputError(
        shortened(reason), row=row_of_line(path, target, name, int(place[1])), column=column, remedy=advice
    )


def row_of_line(path: Path, target: Target, name: str, line: int) -> int | None:
    """The data row that line `line` of what was sent, 1 being its header, belongs to."""
    before = 1
    for frame in frames_to_copy(path, target, name):
        breaks = pl.sum_horizontal(pl.col(pl.String).str.count_matches("\n", literal=True).fill_null(0))
        last_lines = frame.select(before + (breaks + 1).cum_sum()).to_series()
        if frame.height and last_lines[-1] >= line:
            return int(frame["row"][int((last_lines < line).sum())])
        before = before if not frame.height else int(last_lines[-1])
    return None
