"""Answers that an earlier run has written, so that nothing is answered twice.

A row's answer is a function of the row, the bundle and the options, so an old answer to an equal row is exact. What is
kept in memory for a row is a digest, and where the answer stands in the context: a place in its file instead would need
the file open, and a folder may hold more files than a process may open.
"""

import hashlib
import logging
import math
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import InputError
from stages.answering.formats import open_as_csv
from stages.csvs.records import Records

if TYPE_CHECKING:
    from runtime import Answer
    from stages.answering.rows import Columns

# Rows that are remembered, some 200 bytes each.
MOST_ROWS = 2_000_000
# Start, end, score and confidence; NaN for none.
_PACKED = struct.Struct("<qqdd")


def key_of(question: str, context: str) -> bytes:
    """A digest of the row; the length keeps `ab`, `c` apart from `a`, `bc`."""
    text = question.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(len(text).to_bytes(8, "little") + text, digest_size=16)
    digest.update(context.encode("utf-8", "surrogatepass"))
    return digest.digest()


class OldAnswers:
    """The answers in files that `answer` wrote under the same bundle and options. No file stays open."""

    def __init__(self, columns: "Columns", library: "OldAnswers | None" = None) -> None:
        """What these files do not know, `library` is asked for."""
        self._columns = columns
        self._library = library
        self._answers: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, path: Path) -> None:
        """Learns the rows of one file, as far as it is sound; the file may be removed or replaced then."""
        import polars as pl

        try:
            stream = open_as_csv(path)
        except (OSError, pl.exceptions.PolarsError):
            return
        # A partial file ends in mid-row; what stands before that is whole.
        with stream, suppress(InputError):
            records = Records(stream, (self._columns.question, self._columns.context, *self._columns.added))
            for _ in records:
                if len(self._answers) >= MOST_ROWS:
                    logging.warning("%s: more than %d rows to reuse; the others are answered", path, MOST_ROWS)
                    return
                row = dict(zip(records.header, records.fields, strict=True))
                if packed := _pack(row, self._columns):
                    key = key_of(row[self._columns.question], row[self._columns.context])
                    self._answers.setdefault(key, packed)

    def get(self, question: str | None, context: str | None) -> "Answer | None":
        """The answer to an equal row, if there is one."""
        if not question or not context:
            return None
        packed = self._answers.get(key_of(question, context))
        if packed is None:
            return self._library.get(question, context) if self._library else None
        return _unpack(packed, context)


def _pack(row: dict[str, str], columns: "Columns") -> bytes | None:
    """The answer that a row holds, without its text, which the context has; None if it is an error, or unsound."""
    text, error, *numbers = (
        row[columns.prefix + name] for name in ("answer", "error", "start", "end", "score", "confidence")
    )
    try:
        start, end = map(int, numbers[:2])
        score, confidence = float(numbers[2]), float(numbers[3] or "nan")
    except ValueError:
        return None
    context = row[columns.context]
    # What an interrupted run left has no digest, and a disk that lost power may hold anything.
    fits = 0 <= start <= end <= len(context) and context[start:end] == text and math.isfinite(score)
    return _PACKED.pack(start, end, score, confidence) if fits and not error else None


def _unpack(packed: bytes, context: str) -> "Answer":
    from runtime import Answer

    start, end, score, confidence = _PACKED.unpack(packed)
    return Answer(context[start:end], score, start, end, None if math.isnan(confidence) else confidence)
