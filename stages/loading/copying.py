"""One answered CSV as the bytes that COPY takes: its rows behind the file's name and their number.

COPY goes straight into the table. Through a temporary table every row would be written twice, and the account would
need the right to make one; what a crash leaves is the same, because the transaction is.
"""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import TYPE_CHECKING, BinaryIO

import polars as pl

from runtime.errors import InputError
from stages.common.names import Origin
from stages.csvs.columns import own_name
from stages.csvs.reader import Reader
from stages.csvs.regular import Block
from stages.loading.target import Target

if TYPE_CHECKING:
    from hashlib import _Hash

_GATHERED_BYTES = 1 << 18
# Bytes of column names that are written at a time: 2 MB of rows of ten bytes, each with a name of 2,000, took 700 MB.
_NAMES_BYTES = 16 << 20


@dataclass(slots=True)
class AnsweredCsv:
    """An open CSV, and where its rows belong.

    Attributes:
        path: below INPUT.
        origin: the object that its rows come from, and the row of the first.
        stream: the file, opened once, so that every pass sees one version of it.
        opened_at: the database's clock before that, where it is a datum's; None in a plain run.
        state: of the file when it was opened, as `state_of` gives it.
        size, sha256, rows, header: of what `examine` read; 0 and empty before. The size is in bytes.
        blocks: all records of a small file; None for one that is read again while it is copied.
        skipped: data rows of this CSV, from 1, that are left out.

    """

    path: str
    origin: Origin
    stream: BinaryIO
    opened_at: datetime | None = None
    size: int = 0
    sha256: str = ""
    rows: int = 0
    header: tuple[str, ...] = ()
    blocks: tuple[Block, ...] | None = None
    skipped: frozenset[int] = frozenset()
    state: tuple[int, int, int] = (0, 0, 0)

    def close(self) -> None:
        """Closes the stream, whichever version it is of."""
        self.stream.close()

    def become(self, newer: "AnsweredCsv") -> None:
        """Turns into another version of the same CSV; the stream of the one before is closed."""
        self.stream.close()
        for name in self.__slots__:
            setattr(self, name, getattr(newer, name))


def state_of(stat: os.stat_result) -> tuple[int, int, int]:
    """What changes when somebody writes into the file."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class _Named(io.FileIO):
    """Reads from an open file; its errors say which that is."""

    def __init__(self, csv: AnsweredCsv) -> None:
        super().__init__(csv.stream.fileno(), closefd=False)
        self._path = csv.path

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error


def reader_of(csv: AnsweredCsv, target: Target, digest: "_Hash | None" = None) -> Reader:
    """Reads the file from its beginning. Raises InputError as `Reader` does."""
    csv.stream.seek(0)
    return Reader(io.BufferedReader(_Named(csv)), target.required, digest)


def examine(csv: AnsweredCsv, target: Target) -> None:
    """Reads the file once, before a transaction is open: its digest and its rows. Raises InputError."""
    digest = hashlib.sha256()
    reader = reader_of(csv, target, digest)
    csv.header = tuple(reader.header)
    csv.rows = sum(block.ends.size for block in reader.blocks())
    csv.sha256 = digest.hexdigest()
    csv.size = os.fstat(csv.stream.fileno()).st_size


def columns_of(csv: AnsweredCsv, target: Target) -> tuple[str, ...]:
    """The table's columns that the file's rows are copied into."""
    places = _places(csv, target)
    return ("file", "row", *(places.values() if places else (*target.names, "extra")))


def is_verbatim(csv: AnsweredCsv, target: Target) -> bool:
    """Whether the file's records are copied as they are: every column has its place in the table, and none is left."""
    return bool(_places(csv, target))


def rows_to_copy(csv: AnsweredCsv, target: Target) -> Iterator[bytes]:
    """The file's rows as CSV for COPY into `columns_of`, a block at a time.

    Raises InputError for a row that breaks a rule, or if the file is not what `examine` read.
    """
    digest = hashlib.sha256()
    reader = reader_of(csv, target, digest)
    yield from verbatim_rows(csv, reader.blocks()) if is_verbatim(csv, target) else _frames(csv, reader, target)
    if digest.hexdigest() != csv.sha256:
        raise InputError("it changed while it was read", remedy="load it again when nothing writes to it")


def _places(csv: AnsweredCsv, target: Target) -> dict[str, str]:
    """The table's column for each of the file's, if every one has a place and none is left; else nothing."""
    places = {column: known for known, column in target.names.items()}
    if len(places) == len(target.names) and places.keys() == set(csv.header):
        return {column: places[column] for column in csv.header}
    return {}


def verbatim_rows(csv: AnsweredCsv, blocks: Iterable[Block]) -> Iterator[bytes]:
    """The records' own bytes behind the file's name and their number.

    Where every column has its place in the table, nothing else is to be changed, and the rules of `csvs` are such
    that PostgreSQL reads the bytes as polars does. It takes a third less of the client's time than reordering.
    """
    prefix = b'"%b",' % csv.origin.file.replace('"', '""').encode()
    row = 1
    for block in blocks:
        text, ends = block.text, block.ends.tolist()
        yield b"".join(
            [
                b"%b%d,%b" % (prefix, csv.origin.first_row + number - 1, text[start:end])
                for number, start, end in zip(count(row), chain((0,), ends), ends, strict=False)
                if number not in csv.skipped
            ]
        )
        row += len(ends)


def _frames(csv: AnsweredCsv, reader: Reader, target: Target) -> Iterator[bytes]:
    first = 1
    for frame, _ in reader.frames():
        rows = pl.Series(range(first, first + frame.height), dtype=pl.Int64)
        first += frame.height
        if csv.skipped:
            taken = ~rows.is_in(list(csv.skipped))
            frame, rows = frame.filter(taken), rows.filter(taken)
        files = pl.repeat(csv.origin.file, frame.height, eager=True)
        yield from reordered_rows(frame, files, rows + (csv.origin.first_row - 1), target)


def reordered_rows(frame: pl.DataFrame, files: pl.Series, rows: pl.Series, target: Target) -> Iterator[bytes]:
    """The rows in the columns of the table: those that have one, and all others as JSON in `extra`."""
    taken = set(target.names.values())
    names = [column for column in frame.columns if column not in taken]
    others = [pl.col(column).alias(own_name(column)) for column in names]
    known = [
        (pl.col(column) if column in frame.columns else pl.lit(None, pl.String)).alias(name)
        for name, column in target.names.items()
    ]
    extra = pl.struct(others).struct.json_encode() if others else pl.lit(None, pl.String)
    # The JSON of each row holds all their names.
    step = max(1, _NAMES_BYTES // max(1, sum(len(name.encode()) for name in names)))
    for first in range(0, frame.height, step):
        keys = files.slice(first, step).alias("file"), rows.slice(first, step).alias("row")
        part = frame.slice(first, step).select(*keys, *known, extra.alias("extra"))
        buffer = io.BytesIO()
        part.write_csv(buffer, include_header=False, quote_style="necessary")
        yield buffer.getvalue()


def prefetch(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, each block made while the one before is being sent: the server parses meanwhile."""
    blocks = _gather(blocks)
    first = next(blocks, b"")
    if len(first) < _GATHERED_BYTES:
        # It is all; a thread takes longer to start than a small file to be sent.
        yield from filter(None, [first])
        return
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, blocks, None)
        yield first
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block


def _gather(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Small blocks joined: to hand one over takes as long as all else that a file of one row costs."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= _GATHERED_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def row_of_line(csv: AnsweredCsv, target: Target, line: int) -> int | None:
    """The CSV's data row that line `line` of what was sent, 1 being its header, belongs to."""
    row, before = 0, 1
    for frame, _ in reader_of(csv, target).frames():
        numbers = pl.Series(range(row + 1, row + 1 + frame.height), dtype=pl.Int64)
        kept = frame.filter(~numbers.is_in(list(csv.skipped)))
        numbers = numbers.filter(~numbers.is_in(list(csv.skipped)))
        breaks = pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True).fill_null(0))
        lines = kept.select((breaks + 1 + csv.origin.file.count("\n")).cum_sum()).to_series() + before
        if kept.height and lines[-1] >= line:
            return int(numbers[int((lines < line).sum())])
        row += frame.height
        before = int(lines[-1]) if kept.height else before
    return None
