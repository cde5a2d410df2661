"""One table -> parts that keep the rules, or an InputError that says which rule it breaks."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path

from runtime.errors import AnswermillError, InputError
from runtime.os_errors import describe
from stages.ingesting.converting import as_csv
from stages.ingesting.limits import Limits
from stages.ingesting.tables import Table

# To be raised when the same object would leave in other bytes, so that the next run fetches all objects again.
VERSION = 4


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

    The parts are of use only when the last row has been checked. Raises InputError for a table that breaks a rule,
    and leaves no file then.
    """
    remarks: list[str] = []
    converted = stem.with_name(f"{stem.name}-table")
    written: list[Path] = []
    try:
        text = as_csv(path, name, converted, rules.encoding, rules.limits, remarks)
        table = Table(text, rules.required, rules.limits, remarks)
        return Admission(list(cut(table, stem, rules.shard_rows, written)), table.remarks)
    except OSError as error:
        # Those of a write do not say where.
        raise AnswermillError(describe(error, stem.parent)) from error
    except InputError:
        for part in written:
            part.unlink()
        raise
    finally:
        converted.unlink(missing_ok=True)


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


class _Counter:
    """Counts what passes."""

    def __init__(self) -> None:
        self.rows = 0

    def count(self, records: Iterator[bytes]) -> Iterator[bytes]:
        """The same records."""
        for record in records:
            self.rows += 1
            yield record
