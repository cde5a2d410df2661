"""A CSV as people have it -> a header and records as every later stage reads them, and remarks on what was done."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

from runtime.errors import InputError
from stages.csvs.header import width_error
from stages.csvs.records import Reading, Records
from stages.ingesting.dialects import Header, count_unnamed_at_end, find_dialect, match_columns, mend_header
from stages.ingesting.encodings import decode_utf8
from stages.ingesting.limits import Limits, check_column_names
from stages.ingesting.line_ends import EndMark
from stages.ingesting.texts import Text


@dataclass(slots=True)
class RowMender:
    """Gives a record the header's width, if only empty fields at its end are missing, or one is too many.

    Attributes:
        needed: how many fields a row must have, so that both required columns are among them.
        filled: how many rows were filled, `cut` how many lost a field; `first` is the first row of either.

    """

    width: int
    needed: int
    delimiter: str = ","
    filled: int = 0
    cut: int = 0
    first: int = 0

    def __call__(self, fields: list[str], record: bytes, row: int) -> bytes:
        """The record in the header's width. Raises InputError if that is a guess."""
        if self.needed <= len(fields) < self.width:
            self.filled += 1
            body, end = _split(record)
            mended = body + b"," * (self.width - len(fields)) + end
        elif len(fields) == self.width + 1 and not fields[-1]:
            self.cut += 1
            mended = without_last(record, 1)
        else:
            raise width_error(fields, self.width, row, self.delimiter)
        self.first = self.first or row
        return mended

    def remarks(self) -> Iterator[str]:
        """What was done, for the log."""
        if self.filled:
            yield f"short rows filled: {self.filled} (first: row {self.first})"
        if self.cut:
            yield f"rows whose extra empty field was dropped: {self.cut} (first: row {self.first})"


class Table:
    """A CSV that is to be passed on.

    Attributes:
        header: its own bytes as they are passed on.
        remarks: what is unusual about it; complete once all rows are read.

    """

    def __init__(self, text: Text, required: tuple[str, str], limits: Limits, remarks: list[str]) -> None:
        self.remarks = remarks
        self._text = text
        self._limits = limits
        self._end = EndMark()
        reading = Reading(blank_lines=limits.blank_lines, decode=text.decoder or decode_utf8, end=self._end)
        self._open_lines, reading, header = find_dialect(text.open, required, reading, remarks)
        if len(header) > limits.columns:
            raise InputError(
                f"{len(header)} columns, and at most {limits.columns} are taken",
                row=0,
                remedy=f"leave some out, or allow more with --max-columns {len(header)}",
            )
        places = match_columns(header, required)
        check_column_names(header, limits)
        self._mender = RowMender(len(header), max(places) + 1, reading.delimiter)
        self._reading = replace(reading, fit=self._mender)
        self._shape = mend_header(header, self._count_used(header), required, remarks)
        # The lines that were read so far are read again.
        text.forget()

    @property
    def columns(self) -> list[str]:
        """The names that are passed on."""
        return self._shape.names

    def rows(self) -> Iterator[bytes]:
        """First the header, then the records, each as strict CSV. Raises InputError at the first that breaks a rule."""
        longest, shape = self._limits.field_bytes, self._shape
        with self._open_lines() as stream:
            records = Records(stream, None, self._reading)
            yield _header_bytes(records, shape)
            for record in records:
                if len(record) > longest:
                    _check_fields(records, shape, longest)
                yield without_last(record, shape.dropped) if shape.dropped else record
        self.remarks += self._mender.remarks()
        if self._end.seen:
            self.remarks.append("dropped Ctrl-Z at its end")
        self.remarks += self._text.remarks()

    def _count_used(self, header: list[str]) -> int:
        """How many columns there are without those at the end that have neither a name nor a field with text."""
        unnamed = count_unnamed_at_end(header)
        if not unnamed:
            return len(header)
        used = len(header) - unnamed
        probe = replace(self._reading, fit=replace(self._mender))
        with self._open_lines() as stream:
            records = Records(stream, None, probe)
            for _ in records:
                extra = records.fields[used : len(header)]
                if any(extra):
                    used += max(index for index, text in enumerate(extra, 1) if text)
        return used


def without_last(record: bytes, count: int) -> bytes:
    """The record without its last fields, which are empty."""
    body, end = _split(record)
    for _ in range(count):
        body = body.removesuffix(b'""').removesuffix(b",")
    return body + end


def _split(record: bytes) -> tuple[bytes, bytes]:
    end = b"\r\n" if record.endswith(b"\r\n") else b"\n"
    return record[: -len(end)], end


def _header_bytes(records: Records, shape: Header) -> bytes:
    if shape.names == shape.own:
        return records.header_bytes
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=_split(records.header_bytes)[1].decode()).writerow(shape.names)
    return text.getvalue().encode()


def _check_fields(records: Records, shape: Header, longest: int) -> None:
    for name, text in zip(shape.names, records.fields, strict=False):
        size = len(text.encode())
        if size > longest:
            raise InputError(
                f"a field of {size:,} bytes, and at most {longest:,} are taken",
                row=records.row,
                column=name,
                remedy=f"cut its text into several rows, or allow longer ones with --max-field {size}",
            )
