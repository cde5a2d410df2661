"""An object -> its text: unpacked, and in UTF-8."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.csvs.formats import HEAD
from stages.ingesting.detecting import detect
from stages.ingesting.encodings import LineDecoder, extends_ascii, is_utf8, recode, wide_encoding
from stages.ingesting.limits import Limits
from stages.ingesting.unpacking import open_unpacked


@dataclass(frozen=True, slots=True)
class Text:
    """The text of an object.

    Attributes:
        open: opens it at its beginning, as UTF-8 except for the lines that are left to `decoder`.
        decoder: reads lines that are not UTF-8; None if they are to be refused.

    """

    open: Callable[[], io.BufferedReader]
    decoder: LineDecoder | None

    def remarks(self) -> Iterator[str]:
        """What was done with its lines, for the log, once all are read."""
        if self.decoder and self.decoder.rows:
            yield f"rows read as {self.decoder.encoding}: {self.decoder.rows} (first: row {self.decoder.first})"

    def forget(self) -> None:
        """Resets the counts, because all lines will be read again."""
        if self.decoder:
            self.decoder.forget()


def find_text(path: Path, encoding: str | None, limits: Limits, remarks: list[str]) -> Text:
    """The text of the file, in an encoding that shows or is named; what was unusual goes to `remarks`.

    Raises InputError if no encoding can be detected.
    """
    with open_unpacked(path, limits).stream as stream:
        whole = wide_encoding(stream.peek(HEAD)[:HEAD])
        if whole is None and encoding and _is_for_whole_files(encoding) and not is_utf8(stream):
            whole = encoding
    if whole:
        remarks.append(f"read as {whole}")

    def open_text() -> io.BufferedReader:
        stream = open_unpacked(path, limits).stream
        return recode(stream, whole, named=whole == encoding) if whole else stream

    return Text(open_text, _decoder(open_text, encoding, remarks))


def _decoder(
    open_text: Callable[[], io.BufferedReader], encoding: str | None, remarks: list[str]
) -> LineDecoder | None:
    if encoding is None or _is_for_whole_files(encoding):
        return None
    if encoding != "auto":
        return LineDecoder(encoding)
    with open_text() as stream:
        detected, sure = detect(stream)
    if detected == "utf-8":
        return None
    remarks.append(f"detected {detected}, {sure}")
    return LineDecoder(detected, is_guess=True)


def _is_for_whole_files(encoding: str) -> bool:
    return encoding != "auto" and not extends_ascii(encoding)
