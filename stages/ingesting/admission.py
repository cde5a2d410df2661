"""One table -> parts that keep the rules, or an InputError that says which rule it breaks."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path

from runtime.command import describe
from runtime.errors import AnswermillError, InputError
from stages.common.names import format_of
from stages.ingesting.encodings import LineDecoder, detect, extends_ascii, is_utf8, recoded, wide_encoding
from stages.ingesting.limits import Limits
from stages.ingesting.ndjson import write_ndjson_as_csv
from stages.ingesting.parquet import PARQUET, write_parquet_as_csv
from stages.ingesting.tables import Table
from stages.ingesting.unpacking import open_unpacked

# To be raised when the same object would leave in other bytes, so that the next run fetches all objects again.
VERSION = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """What a table must hold, how it is read, and where it is cut.

    Attributes:
        required: columns that it must have.
        shard_rows: most rows of a part.
        encoding: how lines are read that are not UTF-8; `auto` to detect it, None to refuse them.
        limits: how large it may be.

    """

    required: tuple[str, str]
    shard_rows: int
    encoding: str | None = None
    limits: Limits = field(default_factory=Limits)

    def digest(self) -> str:
        """What tells these rules from others."""
        return hashlib.sha256(json.dumps([VERSION, asdict(self)]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Part:
    """A file with rows of a table: the first's number, and how many."""

    path: Path
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class Admission:
    """A table's parts, and what was unusual about it."""

    parts: list[Part]
    remarks: list[str]


def admit(path: Path, name: str, stem: Path, rules: Rules) -> Admission:
    """Writes a table that keeps the rules as files whose names begin with `stem`, in parts if it is long.

    Only when the last row has been checked are the parts of any use. Raises InputError for a table that breaks a rule,
    and leaves no file then.
    """
    remarks: list[str] = []
    converted = stem.with_name(f"{stem.name}-table")
    written: list[Path] = []
    try:
        table = open_table(_as_csv(path, name, converted, rules, remarks), rules, remarks)
        return Admission(list(cut(table, stem, rules.shard_rows, written)), table.remarks)
    except OSError as error:
        # Those of a write do not say where.
        raise AnswermillError(f"{stem.parent}: {describe(error)}") from error
    except InputError:
        for part in written:
            part.unlink()
        raise
    finally:
        converted.unlink(missing_ok=True)


def open_table(path: Path, rules: Rules, remarks: list[str]) -> Table:
    """The CSV in the file, unpacked and as UTF-8. Raises InputError as `Table` does."""
    stream, kinds = open_unpacked(path, rules.limits)
    with stream:
        encoding = wide_encoding(stream.peek(16))
        if encoding is None and _is_for_whole_files(rules.encoding) and not is_utf8(stream):
            encoding = rules.encoding
    remarks += [f"unpacked {kind}" for kind in kinds]
    if encoding:
        remarks.append(f"read as {encoding}")

    def open_text() -> io.BufferedReader:
        stream = open_unpacked(path, rules.limits)[0]
        return recoded(stream, encoding, named=encoding == rules.encoding) if encoding else stream

    decoder = None
    if rules.encoding == "auto":
        with open_text() as stream:
            detected, sure = detect(stream)
        if detected != "utf-8":
            remarks.append(f"detected {detected}, {sure}")
            decoder = LineDecoder(detected)
    elif rules.encoding and not _is_for_whole_files(rules.encoding):
        decoder = LineDecoder(rules.encoding)
    return Table(open_text, rules.required, rules.limits, decoder, remarks)


def cut(table: Table, stem: Path, most: int, written: list[Path]) -> Iterator[Part]:
    """Writes parts of at most `most` rows, each with the header, rows byte for byte; names them in `written`.

    At least one part, so that a header without rows stays a file. They are not yet on disk, only with the system.
    """
    rows = table.rows()
    header = next(rows)
    row = next(rows, None)
    first_row = 1
    while row is not None or first_row == 1:
        path = stem.with_name(f"{stem.name}-{first_row:010d}")
        counted = _Counter()
        with path.open("wb") as part:
            written.append(path)
            part.write(header)
            if row is not None:
                # One by one: a part of 5,000 long contexts is more than memory should hold.
                part.writelines(counted.count(chain([row], islice(rows, most - 1))))
        row = next(rows, None)
        yield Part(path, first_row, counted.rows)
        first_row += most


def _is_for_whole_files(encoding: str | None) -> bool:
    return encoding not in (None, "auto") and not extends_ascii(encoding)


class _Counter:
    """Counts what passes."""

    def __init__(self) -> None:
        self.rows = 0

    def count(self, records: Iterator[bytes]) -> Iterator[bytes]:
        """The same records."""
        for record in records:
            self.rows += 1
            yield record


def _as_csv(path: Path, name: str, converted: Path, rules: Rules, remarks: list[str]) -> Path:
    """The table as a CSV: itself, or a copy of another format at `converted`."""
    with path.open("rb") as stream:
        magic = stream.read(len(PARQUET))
    if magic == PARQUET or format_of(name) == "parquet":
        write_parquet_as_csv(path, converted)
        remarks.append("converted from Parquet")
    elif format_of(name) == "ndjson":
        stream, kinds = open_unpacked(path, rules.limits)
        stream.close()
        remarks += [f"unpacked {kind}" for kind in kinds]
        write_ndjson_as_csv(lambda: open_unpacked(path, rules.limits)[0], converted, rules.limits)
        remarks.append("converted from NDJSON")
    else:
        return path
    return converted
