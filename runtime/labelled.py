"""Labelled rows out of a user's CSV, for what is fitted or judged by them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from runtime.errors import InputError

_INGEST = "pass it through the ingest stage"
# As many characters of a header as a line of a log has room for.
_LONGEST = 200


def read_labelled(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV in UTF-8; `columns` are the required ones, each with the remedy if it is missing.

    A row that is cut short, or whose commas are not quoted, would be taken for another question, so it is refused.
    Raises InputError with the file, the row and the column, and OSError.
    """
    csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(header, columns)
            yield from _rows(reader, header)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: it is not a CSV in UTF-8: {error}", remedy=_INGEST) from error
    except InputError as error:
        raise InputError(f"{path}: {error.place}{error.reason}", remedy=error.remedy) from error


def _check_header(header: Sequence[str], columns: Mapping[str, str]) -> None:
    for name, remedy in columns.items():
        count = header.count(name)
        if count > 1:
            raise InputError(f"{count} columns have this name", row=0, column=name, remedy="rename the others")
        if not count:
            names = ", ".join(header)
            names = names if len(names) <= _LONGEST else f"{names[:_LONGEST]}…"
            reason = f"no such column among {names}" if names else "no such column, since the file is empty"
            raise InputError(reason, row=0, column=name, remedy=remedy)


def _rows(reader: Iterator[list[str]], header: Sequence[str]) -> Iterator[dict[str, str]]:
    for number, fields in enumerate(filter(None, reader), 1):
        if len(fields) != len(header):
            reason = f"{len(fields)} fields where the header has {len(header)}"
            raise InputError(reason, row=number, remedy=_INGEST)
        yield dict(zip(header, fields, strict=True))
