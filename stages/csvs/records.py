"""The rules that a CSV keeps here, checked record by record in one streaming pass.

UTF-8 (a BOM is accepted), one header without duplicates, rows of one width. What passes is read in the same way by
Python's csv, by polars and by PostgreSQL.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.errors import InputError
from stages.csvs.formats import HEAD, check_is_text
from stages.csvs.header import check_header, width_error

# Bytes of one record. A quote that never closes makes a field of all that follows, and memory must stay bounded.
LONGEST = 64 << 20

# Strict records: a quote opens only at the start of a field and closes only at its end. Possessive, so linear.
_RECORD = re.compile(rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,(?:"(?:[^"]++|"")*+"|[^",\r\n]*+))*+(?:\r?\n)?')
# A field, with text such as `5" pipe` outside quotes, and what ends it; of any delimiter.
_LOOSE_FIELD = rb'("(?:[^"]++|"")*+"|[^"%(delimiter)b\r\n][^%(delimiter)b\r\n]*+|)(%(delimiter)b|\r?\n|\Z)'
_BOM = b"\xef\xbb\xbf"
_LF = 10
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_QUOTE = "put the whole field in double quotes, and double those inside it"


@dataclass(frozen=True, slots=True)
class Reading:
    """How bytes become records, where it is not as the later stages have it.

    Attributes:
        delimiter: what stands between fields.
        skip: bytes before the header.
        blank_lines: most lines without a field.
        decode: gives the text of a line that is not UTF-8, of the bytes, their offset and the row.
        fit: gives the bytes of a record whose width is not the header's, of its fields, its bytes and the row.
        end: gives the bytes of a line without a line feed, which is the last one.

    They raise InputError for what they refuse.

    """

    delimiter: str = ","
    skip: int = 0
    blank_lines: int | None = None
    decode: Callable[[bytes, int, int], str] | None = None
    fit: Callable[[list[str], bytes, int], bytes] | None = None
    end: Callable[[bytes], bytes] | None = None


AS_IT_IS = Reading()


class Lines(Protocol):
    """What is read line by line; if it has `peek`, archives and workbooks are told by their first bytes."""

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
        self._check_format()
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
                    raise width_error(self.fields, len(self.header), self.row, self._reading.delimiter)
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
            raw = raw.rstrip(b"\r")
            # Where carriage returns end lines, a cell ends so that some programs did not quote.
            if raw.endswith(b"\n"):
                raise self._line_break_error("line feed")
            raw += self._line_end
        elif raw.endswith(b"\r\r\n"):
            # What Windows makes of CRLF written in text mode. Python's csv reads one line end, polars a field's CR.
            raw = raw.rstrip(b"\r\n") + b"\r\n"
        if self._reading.delimiter != "," or (b'"' in raw and not _RECORD.fullmatch(raw)):
            raw = self._loose_field.sub(_with_comma, raw)
        return raw

    def _text(self) -> Iterator[str]:
        """Lines as text, while their bytes are kept aside."""
        mend_end, readline = self._reading.end, self._stream.readline
        line = readline(LONGEST)
        # Some tools write a second BOM before the one that is there.
        while line.startswith(_BOM):
            self.offset, line = self.offset + 3, line[3:]
        while line:
            self._size += len(line)
            if self._size >= LONGEST:
                raise InputError(
                    f"more than {LONGEST >> 20} MiB in one row; perhaps a quote never closes",
                    row=self.row,
                    remedy=f"close it, or {_QUOTE}",
                )
            if line[-1] != _LF and mend_end and not (line := mend_end(line)):
                return
            text, strict = self._decode(line)
            self._lines.append(strict)
            yield text
            self.offset += len(line)
            line = readline(LONGEST)

    def _decode(self, line: bytes) -> tuple[str, bytes]:
        """The line as text and as UTF-8."""
        if b"\0" in line:
            raise InputError(
                f"a NUL byte at offset {self.offset + line.index(0)}",
                row=self.row,
                # In a header it is the mark of another program's format.
                remedy="remove it: PostgreSQL cannot store it" if self.row else "put its table there as CSV in UTF-8",
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
        if "unexpected end of data" in text:
            return InputError(
                "a quote that opens in this row never closes", row=self.row, remedy=f"close it, or {_QUOTE}"
            )
        if "expected after" in text:
            return InputError("text after a closing quote", row=self.row, remedy=_QUOTE)
        # The only other error of a strict reader whose fields may be as long as a record.
        return self._line_break_error("line feed" if b"\n" in self._lines[-1].rstrip(b"\r\n") else "carriage return")

    def _line_break_error(self, char: str) -> InputError:
        return InputError(
            f"a {char} outside quotes",
            row=self.row,
            remedy="end lines with LF or CRLF, and put fields that hold another line break in double quotes",
        )

    def _check_format(self) -> None:
        head = self._stream.peek(HEAD)[:HEAD] if hasattr(self._stream, "peek") else b""
        check_is_text(head)
        if head.startswith(_UTF16):
            raise InputError("UTF-16, not UTF-8", remedy="save it as UTF-8, or pass it through ingest")


def _with_comma(field: re.Match[bytes]) -> bytes:
    text, end = field.groups()
    if (b'"' in text or b"," in text) and not text.startswith(b'"'):
        text = b'"' + text.replace(b'"', b'""') + b'"'
    return text + (b"," if end and end not in (b"\n", b"\r\n") else end)
