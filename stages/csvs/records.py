"""The rules that a CSV keeps here, checked record by record in one streaming pass.

UTF-8 (a BOM is accepted), one header without duplicates, rows of one width. What passes is read in the same way by
Python's csv, by polars and by PostgreSQL.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.errors import InputError

# Bytes of one record. A quote that never closes makes a field of all that follows, and memory must stay bounded.
LONGEST = 64 << 20

# Strict records: a quote opens only at the start of a field and closes only at its end. Possessive, so linear.
_RECORD = re.compile(rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,(?:"(?:[^"]++|"")*+"|[^",\r\n]*+))*+(?:\r?\n)?')
# A field, with text such as `5" pipe` outside quotes, and what ends it; of any delimiter.
_LOOSE_FIELD = rb'("(?:[^"]++|"")*+"|[^"%(delimiter)b\r\n][^%(delimiter)b\r\n]*+|)(%(delimiter)b|\r?\n|\Z)'
_BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"BZh": "a bzip2 archive",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x9d": "a file of compress",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"<!DOCTYPE": "an HTML page",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML file",
    b"[{": "a JSON list",
    b'{"': "JSON",
    **{b"\x80" + bytes([protocol]) + b"\x95": "a Python pickle" for protocol in (4, 5)},
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_QUOTE = "put the whole field in double quotes, and double those inside it"
_REASONS = (
    ("unexpected end of data", "a quote that opens in this row never closes", f"close it, or {_QUOTE}"),
    ("expected after", "text after a closing quote", _QUOTE),
    (
        "new-line character",
        "a carriage return outside quotes",
        "end lines with LF or CRLF, and quote other line breaks",
    ),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How bytes become records, where it is not as the later stages have it.

    Attributes:
        delimiter: what stands between fields.
        skip: bytes before the header.
        blank_lines: most lines without a field.
        decode: gives the text of a line that is not UTF-8, of the bytes, their offset and the row.
        fit: gives the bytes of a record whose width is not the header's, of its fields, its bytes and the row.

    Both raise InputError for what they refuse.

    """

    delimiter: str = ","
    skip: int = 0
    blank_lines: int | None = None
    decode: Callable[[bytes, int, int], str] | None = None
    fit: Callable[[list[str], bytes, int], bytes] | None = None


AS_IT_IS = Reading()


class Lines(Protocol):
    """What is read line by line; where it has `peek`, archives and workbooks are told by their first bytes."""

    def readline(self, size: int = -1, /) -> bytes:
        """As of an open file."""

    def read(self, size: int = -1, /) -> bytes:
        """As of an open file."""


class Records:
    """The header and the records of one CSV.

    Iterating yields each data row's own bytes, ending in a newline; blank lines are dropped. Only a field with quotes
    in it that is not quoted itself (`5" pipe`) is quoted, since polars and PostgreSQL would take its quotes for
    opening ones; and a delimiter other than the comma becomes one. Raises InputError at the first row that breaks a
    rule.

    Attributes:
        header: column names.
        header_bytes: the header's own bytes, without BOM, ending in a newline.
        fields: those of the record last read.
        row: 1-based number of the data row last read; 0 after the header.
        offset: bytes read so far.

    """

    def __init__(self, stream: Lines, required: Sequence[str] | None, reading: Reading = AS_IT_IS) -> None:
        csv.field_size_limit(LONGEST)
        self._stream = stream
        self._reading = reading
        self._loose_field = re.compile(_LOOSE_FIELD % {b"delimiter": re.escape(reading.delimiter.encode())})
        self._blank_lines = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._reader = csv.reader(self._text(), strict=True, delimiter=reading.delimiter)
        self._line_end = b"\n"
        self.fields: list[str] = []
        self.row = 0
        self.offset = reading.skip
        self._check_magic()
        stream.read(reading.skip)
        header, self.header_bytes = self._next() or ([], b"")
        self.header = header
        if not header:
            raise InputError("no header: the file is empty", remedy="write a header line first")
        if required is not None:
            check_header(header, required)
        # What the last line gets if it has no end, so that rows appended later leave it as it is.
        self._line_end = b"\r\n" if self.header_bytes.endswith(b"\r\n") else b"\n"

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.row += 1
            record = self._next()
            if record is None:
                return
            self.fields, raw = record
            if len(self.fields) != len(self.header):
                if self._reading.fit is None:
                    raise width_error(len(self.fields), len(self.header), self.row)
                raw = self._reading.fit(self.fields, raw, self.row)
            yield raw

    def pass_over(self, rows: int, size: int) -> None:
        """Counts whole records that somebody else has read from the stream."""
        self.row += rows
        self.offset += size

    def _next(self) -> tuple[list[str], bytes] | None:
        """The next record that is not a blank line, as fields and as bytes; None at the end."""
        while True:
            self._lines.clear()
            self._size = 0
            try:
                fields = next(self._reader, None)
            except csv.Error as error:
                raise self._explain(error) from error
            if fields is None:
                return None
            if fields:
                return fields, self._strict(b"".join(self._lines))
            self._blank_lines += 1
            if self._reading.blank_lines is not None and self._blank_lines > self._reading.blank_lines:
                raise InputError(
                    f"more than {self._reading.blank_lines} blank lines",
                    row=self.row,
                    remedy="remove them, or allow more with --max-blank-lines",
                )

    def _strict(self, raw: bytes) -> bytes:
        """The record with one line end, and with quotes only where every reader takes them for quotes."""
        if not raw.endswith(b"\n"):
            raw = raw.rstrip(b"\r") + self._line_end
        elif raw.endswith(b"\r\r\n"):
            # What Windows makes of CRLF written in text mode. Python's csv reads one line end, polars a field's CR.
            raw = raw.rstrip(b"\r\n") + b"\r\n"
        if self._reading.delimiter != "," or (b'"' in raw and not _RECORD.fullmatch(raw)):
            raw = self._loose_field.sub(_with_comma, raw)
        return raw

    def _text(self) -> Iterator[str]:
        """Lines as text, while their bytes are kept aside."""
        first = True
        while line := self._stream.readline(LONGEST):
            # Some tools write a second BOM before the one that is there.
            while first and line.startswith(_BOM):
                self.offset, line = self.offset + 3, line[3:]
            first = False
            self._size += len(line)
            if self._size >= LONGEST:
                raise InputError(
                    f"more than {LONGEST >> 20} MiB in one row; perhaps a quote never closes",
                    row=self.row,
                    remedy=f"close it, or {_QUOTE}",
                )
            text, strict = self._decode(line)
            self._lines.append(strict)
            yield text
            self.offset += len(line)

    def _decode(self, line: bytes) -> tuple[str, bytes]:
        """The line as text and as UTF-8."""
        if b"\0" in line:
            raise InputError(
                f"a NUL byte at offset {self.offset + line.index(0)}",
                row=self.row,
                remedy="remove it: PostgreSQL cannot store it",
            )
        try:
            return line.decode(), line
        except UnicodeDecodeError as error:
            if self._reading.decode:
                text = self._reading.decode(line, self.offset, self.row)
                return text, text.encode()
            raise InputError(
                f"not UTF-8 at byte offset {self.offset + error.start}",
                row=self.row,
                remedy="save the file as UTF-8, or pass it through ingest with --encoding",
            ) from error

    def _explain(self, error: csv.Error) -> InputError:
        text = str(error)
        for part, reason, remedy in _REASONS:
            if part in text:
                return InputError(reason, row=self.row, remedy=remedy)
        return InputError(text, row=self.row, remedy="check that this is a CSV")

    def _check_magic(self) -> None:
        head = self._stream.peek(16)[:16] if hasattr(self._stream, "peek") else b""
        for magic, name in _MAGIC.items():
            if head.startswith(magic):
                is_json = name == "JSON"
                way = "call it .ndjson if it has an object on each line, else " if is_json else ""
                raise InputError(f"{name}, not a CSV", remedy=f"{way}save it as CSV in UTF-8")
        if head.startswith(_UTF16):
            raise InputError("UTF-16, not UTF-8", remedy="save it as UTF-8, or give --encoding utf-16 to ingest")


def check_header(header: Sequence[str], required: Sequence[str]) -> None:
    """Raises InputError for a header with a name twice, or without a required one."""
    name, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise InputError("the header names it twice", row=0, column=name, remedy="give each column a name of its own")
    for name in required:
        if name not in header:
            raise InputError(
                f"no such column among {_listed(header)}", row=0, column=name, remedy=_column_remedy(name, header)
            )


def width_error(fields: int, width: int, row: int) -> InputError:
    """The InputError of a row whose fields are not as many as the header's."""
    if fields > width:
        remedy = "put fields that hold a comma or a line break in double quotes"
    else:
        remedy = "fill in the fields that are missing; if a line break cut the row, put its field in double quotes"
    return InputError(f"{fields} fields where the header has {width}", row=row, remedy=remedy)


def _with_comma(field: re.Match[bytes]) -> bytes:
    text, end = field.groups()
    if (b'"' in text or b"," in text) and not text.startswith(b'"'):
        text = b'"' + text.replace(b'"', b'""') + b'"'
    return text + (b"," if end and end not in (b"\n", b"\r\n") else end)


def _column_remedy(name: str, header: Sequence[str]) -> str:
    for delimiter, spoken in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and delimiter in header[0]:
            return f"separate the fields with commas instead of {spoken}, or pass the file through ingest"
    if name in ("question", "context"):
        return f"rename one, or say which it is with --{name}-column"
    return "rename one"


def _listed(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    shown = ", ".join(f'"{name[:60]}"' for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
