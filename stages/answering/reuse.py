"""Answers that an earlier run has written, so that nothing is answered twice.

A row's answer is a function of the row, the bundle and the options, so an old answer to an equal row is exact. What is
kept in memory for a row is a digest and a place in a file; the answer itself is read again when it is wanted.
"""

import csv
import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from runtime.errors import InputError
from stages.answering.formats import open_as_csv
from stages.csvs.records import Records

if TYPE_CHECKING:
    from runtime import Answer
    from stages.answering.rows import Columns

# Rows that are remembered, some 150 bytes each.
MOST_ROWS = 2_000_000


def key_of(question: str, context: str) -> bytes:
    """A digest of the row; the length keeps `ab`, `c` apart from `a`, `bc`."""
    text = question.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(len(text).to_bytes(8, "little") + text, digest_size=16)
    digest.update(context.encode("utf-8", "surrogatepass"))
    return digest.digest()


class OldAnswers:
    """The answers in files that `answer` wrote under the same bundle and options."""

    def __init__(self, columns: "Columns", library: "OldAnswers | None" = None) -> None:
        """What these files do not know, `library` is asked for."""
        self._columns = columns
        self._library = library
        self._files: list[tuple[BinaryIO, list[str]]] = []
        self._places: dict[bytes, tuple[int, int, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, path: Path) -> None:
        """Learns the rows of one file, as far as it is sound; the file may be removed or replaced then."""
        import polars as pl

        try:
            stream = open_as_csv(path)
        except (OSError, pl.exceptions.PolarsError):
            return
        number = len(self._files)
        # A partial file ends in mid-row; what stands before that is whole.
        with suppress(InputError):
            records = Records(stream, (self._columns.question, self._columns.context, *self._columns.added))
            self._files.append((stream, records.header))
            for line, offset in _with_offsets(records):
                if len(self._places) >= MOST_ROWS:
                    logging.warning("%s: more than %d rows to reuse; the others are answered", path, MOST_ROWS)
                    return
                row = _fields(line, records.header)
                if row[self._columns.prefix + "error"] == "":
                    key = key_of(row[self._columns.question], row[self._columns.context])
                    self._places.setdefault(key, (number, offset, len(line)))
        if len(self._files) == number:
            stream.close()

    def get(self, question: str | None, context: str | None) -> "Answer | None":
        """The answer to an equal row, if there is one."""
        if not question or not context:
            return None
        place = self._places.get(key_of(question, context))
        if place is None:
            return self._library.get(question, context) if self._library else None
        number, offset, length = place
        stream, header = self._files[number]
        stream.seek(offset)
        try:
            row = _fields(stream.read(length), header)
            answer = _answer(row, self._columns.prefix)
        except (ValueError, KeyError, csv.Error):
            return None
        # What an interrupted run left has no digest, and a disk that lost power may hold anything.
        fits = row[self._columns.context] == context and context[answer.start : answer.end] == answer.text
        return answer if fits else None

    def close(self) -> None:
        """Closes the files."""
        for stream, _ in self._files:
            stream.close()
        self._places.clear()


def _with_offsets(records: Records) -> Iterator[tuple[bytes, int]]:
    """Records, each with its place in a file that `answer` wrote: no BOM, no blank lines, nothing to mend."""
    offset = len(records.header_bytes)
    for line in records:
        yield line, offset
        offset += len(line)


def _fields(line: bytes, header: list[str]) -> dict[str, str]:
    csv.field_size_limit(1 << 30)
    (values,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
    return dict(zip(header, values, strict=True))


def _answer(row: dict[str, str], prefix: str) -> "Answer":
    """The answer that the row holds. Raises ValueError and KeyError if it holds none."""
    from runtime import Answer

    values: dict[str, object] = {
        "text": row[f"{prefix}answer"],
        "score": float(row[f"{prefix}score"]),
        "start": int(row[f"{prefix}start"]),
        "end": int(row[f"{prefix}end"]),
    }
    if "confidence" in {field.name for field in fields(Answer)} and row.get(f"{prefix}confidence"):
        values["confidence"] = float(row[f"{prefix}confidence"])
    return Answer(**values)  # type: ignore[arg-type]
