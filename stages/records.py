"""The rules that a CSV keeps here, checked record by record in one streaming pass.

UTF-8 (a BOM is accepted), one header without duplicates, rows of one width, quotes only around whole fields. What
passes is read in the same way by Python's csv, by polars and by PostgreSQL.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from runtime.errors import InputError

# One line, and one field. A quote that never closes makes a field of all that follows, and memory must stay bounded.
LONGEST = 64 << 20

# Strict records: a quote opens only at the start of a field and closes only at its end. Python's csv lets `5" pipe`
# pass outside quotes; polars counts that quote when it looks for line ends and joins rows. Possessive, so linear.
_RECORD = re.compile(rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)(?:,(?:"(?:[^"]++|"")*+"|[^",\r\n]*+))*+(?:\r?\n)?')
_MAGIC = {
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_REASONS = (
    ("unexpected end of data", "a quote that opens in this row never closes"),
    ("expected after", "text after a closing quote"),
    ("new-line character", "a carriage return outside quotes"),
    ("field larger", f"a field of more than {LONGEST >> 20} MiB; perhaps a quote never closes"),
)


class Records:
    """The header and the records of one CSV.

    Iterating yields each data row's own bytes, ending in a newline; blank lines are dropped. Raises InputError at
    the first row that breaks a rule.

    Attributes:
        header: column names.
        header_bytes: the header's own bytes, without BOM, ending in a newline.
        row: 1-based number of the data row last read; 0 after the header.

    """

    def __init__(self, stream: BinaryIO, required: Sequence[str]) -> None:
        csv.field_size_limit(LONGEST)
        self._stream = stream
        self._offset = 0
        self._lines: list[bytes] = []
        self._reader = csv.reader(self._text(), strict=True)
        self.row = 0
        self._check_magic()
        header, self.header_bytes = self._next() or ([], b"")
        self.header = header
        self._check_header(required)

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
            try:
                fields = next(self._reader, None)
            except csv.Error as error:
                raise self._explain(error) from error
            if fields is None:
                return None
            raw = b"".join(self._lines)
            if not fields:
                continue
            if b'"' in raw and not _RECORD.fullmatch(raw):
                raise InputError(
                    "a quote inside a field that is not quoted",
                    row=self.row,
                    remedy="put the field in double quotes and double the quotes in it",
                )
            return fields, raw if raw.endswith(b"\n") else raw + b"\n"

    def _text(self) -> Iterator[str]:
        """Lines as text, while their bytes are kept aside."""
        while line := self._stream.readline(LONGEST):
            if self._offset == 0 and line.startswith(b"\xef\xbb\xbf"):
                self._offset, line = 3, line[3:]
            if len(line) == LONGEST:
                raise InputError(
                    f"a line of more than {LONGEST >> 20} MiB",
                    row=self.row,
                    remedy="check that this is a CSV",
                )
            self._lines.append(line)
            yield self._decode(line)
            self._offset += len(line)

    def _decode(self, line: bytes) -> str:
        if b"\0" in line:
            raise InputError(
                f"a NUL byte at offset {self._offset + line.index(0)}",
                row=self.row,
                remedy="remove it: PostgreSQL cannot store it",
            )
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"not UTF-8 at byte offset {self._offset + error.start}",
                row=self.row,
                remedy="save the file as UTF-8",
            ) from error

    def _explain(self, error: csv.Error) -> InputError:
        text = str(error)
        reason = next((reason for part, reason in _REASONS if part in text), text)
        return InputError(reason, row=self.row, remedy="double every quote that belongs to the text")

    def _check_magic(self) -> None:
        head = self._stream.peek(8)[:8] if hasattr(self._stream, "peek") else b""
        for magic, name in _MAGIC.items():
            if head.startswith(magic):
                raise InputError(f"{name}, not a CSV", remedy="save it as CSV in UTF-8")

    def _check_header(self, required: Sequence[str]) -> None:
        if not self.header:
            raise InputError("no header: the file is empty", remedy="write a header line first")
        for name in self.header:
            if self.header.count(name) > 1:
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
