"""The rules that a CSV keeps here, checked record by record in one streaming pass.

UTF-8 (a BOM is accepted), one header without duplicates, rows of one width. What passes is read in the same way by
Python's csv, by polars and by PostgreSQL.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from runtime.errors import InputError

# Bytes of one record. A quote that never closes makes a field of all that follows, and memory must stay bounded.
LONGEST = 64 << 20

# Strict records: a quote opens only at the start of a field and closes only at its end. Possessive, so linear.
_RECORD = re.compile(rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,(?:"(?:[^"]++|"")*+"|[^",\r\n]*+))*+(?:\r?\n)?')
# The same with text such as `5" pipe` outside quotes.
_LOOSE_FIELD = re.compile(rb'("(?:[^"]++|"")*+"|[^",\r\n][^,\r\n]*+|)(,|\r?\n|\Z)')
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
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_REASONS = (
    ("unexpected end of data", "a quote that opens in this row never closes", "double the quotes inside quoted text"),
    ("expected after", "text after a closing quote", "double the quotes inside quoted text"),
    (
        "new-line character",
        "a carriage return outside quotes",
        "end lines with LF or CRLF, and quote other line breaks",
    ),
)


class Records:
    """The header and the records of one CSV.

    Iterating yields each data row's own bytes, ending in a newline; blank lines are dropped. Only a field with quotes
    in it that is not quoted itself (`5" pipe`) is quoted, since polars and PostgreSQL would take its quotes for
    opening ones. Raises InputError at the first row that breaks a rule.

    Attributes:
        header: column names.
        header_bytes: the header's own bytes, without BOM, ending in a newline.
        row: 1-based number of the data row last read; 0 after the header.
        offset: bytes read so far.

    """

    def __init__(self, stream: BinaryIO, required: Sequence[str]) -> None:
        csv.field_size_limit(LONGEST)
        self._stream = stream
        self._lines: list[bytes] = []
        self._size = 0
        self._reader = csv.reader(self._text(), strict=True)
        self._line_end = b"\n"
        self.row = 0
        self.offset = 0
        self._check_magic()
        header, self.header_bytes = self._next() or ([], b"")
        self.header = header
        self._check_header(required)
        # What the last line gets if it has no end, so that rows appended later leave it as it is.
        self._line_end = b"\r\n" if self.header_bytes.endswith(b"\r\n") else b"\n"

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.row += 1
            record = self._next()
            if record is None:
                return
            fields, raw = record
            if len(fields) != len(self.header):
                raise InputError(
                    f"{len(fields)} fields where the header has {len(self.header)}",
                    row=self.row,
                    remedy="put fields that hold a comma or a line break in double quotes",
                )
            yield raw

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

    def _strict(self, raw: bytes) -> bytes:
        """The record with one line end, and with quotes only where every reader takes them for quotes."""
        if not raw.endswith(b"\n"):
            raw = raw.rstrip(b"\r") + self._line_end
        elif raw.endswith(b"\r\r\n"):
            # What Windows makes of CRLF written in text mode. Python's csv reads one line end, polars a field's CR.
            raw = raw.rstrip(b"\r\n") + b"\r\n"
        if b'"' in raw and not _RECORD.fullmatch(raw):
            raw = _LOOSE_FIELD.sub(_quoted, raw)
        return raw

    def _text(self) -> Iterator[str]:
        """Lines as text, while their bytes are kept aside."""
        first = True
        while line := self._stream.readline(LONGEST):
            # Some tools write a second BOM before the one that is there.
            while first and line.startswith(_BOM):
                self.offset, line = self.offset + 3, line[3:]
            first = False
            self._lines.append(line)
            self._size += len(line)
            if self._size >= LONGEST:
                raise InputError(
                    f"more than {LONGEST >> 20} MiB in one row; perhaps a quote never closes",
                    row=self.row,
                    remedy="double the quotes inside quoted text",
                )
            yield self._decode(line)
            self.offset += len(line)

    def _decode(self, line: bytes) -> str:
        if b"\0" in line:
            raise InputError(
                f"a NUL byte at offset {self.offset + line.index(0)}",
                row=self.row,
                remedy="remove it: PostgreSQL cannot store it",
            )
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"not UTF-8 at byte offset {self.offset + error.start}",
                row=self.row,
                remedy="save the file as UTF-8, or name its encoding to ingest, as in --encoding latin-1",
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
                raise InputError(f"{name}, not a CSV", remedy="save it as CSV in UTF-8")
        if head.startswith(_UTF16):
            raise InputError("UTF-16, not UTF-8", remedy="save it as UTF-8, or give --encoding utf-16 to ingest")

    def _check_header(self, required: Sequence[str]) -> None:
        if not self.header:
            raise InputError("no header: the file is empty", remedy="write a header line first")
        name, count = Counter(self.header).most_common(1)[0]
        if count > 1:
            raise InputError(
                "the header names it twice",
                row=0,
                column=name,
                remedy="give each column a name of its own",
            )
        for name in required:
            if name not in self.header:
                raise InputError(
                    f"no such column among {_listed(self.header)}",
                    row=0,
                    column=name,
                    remedy=_column_remedy(name, self.header),
                )


def _quoted(field: re.Match[bytes]) -> bytes:
    text, end = field.groups()
    if b'"' in text and not text.startswith(b'"'):
        text = b'"' + text.replace(b'"', b'""') + b'"'
    return text + end


def _column_remedy(name: str, header: Sequence[str]) -> str:
    for delimiter, spoken in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and delimiter in header[0]:
            return f"separate the fields with commas instead of {spoken}"
    if name in ("question", "context"):
        return f"rename one, or say which it is with --{name}-column"
    return "rename one"


def _listed(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    shown = ", ".join(f'"{name[:60]}"' for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
