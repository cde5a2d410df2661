"""Text in any encoding -> UTF-8: whole files if their bytes show it or it is no superset of ASCII, else by line."""

import codecs
import io
import re
from typing import BinaryIO

from runtime.errors import InputError
from stages.csvs.header import DELIMITERS
from stages.ingesting.spelling import fault

BLOCK = 1 << 20
# UTF-32's BOM begins with that of UTF-16.
_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WITHOUT_BOM = {
    "utf-16-le": re.compile(rb"(?:[^\0]\0){4}"),
    "utf-16-be": re.compile(rb"(?:\0[^\0]){4}"),
    "utf-32-le": re.compile(rb"(?:[^\0]\0\0\0){3}"),
    "utf-32-be": re.compile(rb"(?:\0\0\0[^\0]){3}"),
}
_C1 = re.compile("[\x80-\x9f]")
_NAME = "save the file as UTF-8, or name its encoding with --encoding"
_OTHER = "name the right one with --encoding, or give --encoding auto"


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, if the file's first bytes say so: by a BOM, or by a NUL in every second byte."""
    for bom, encoding in _BOMS.items():
        if head.startswith(bom):
            return encoding
    if b"\0" not in head:
        return None
    shown = next((encoding for encoding, pattern in _WITHOUT_BOM.items() if pattern.match(head)), None)
    return shown or next((encoding for encoding in ("utf-16-le", "utf-16-be") if _could_be(head, encoding)), None)


def _could_be(head: bytes, encoding: str) -> bool:
    """Whether these bytes have commas and line ends in the encoding, and no NUL: as a header in Greek has."""
    text = head.decode(encoding, "replace")
    return "\0" not in text and "\n" in text and any(delimiter in text for delimiter in DELIMITERS)


def extends_ascii(encoding: str) -> bool:
    """Whether bytes below 128 mean the same as in ASCII, so that lines and commas can be found before decoding."""
    try:
        return bytes(range(128)).decode(encoding) == bytes(range(128)).decode()
    except UnicodeError:
        return False


def is_utf8(stream: BinaryIO) -> bool:
    """Whether all of it is UTF-8 text: no byte out of place, no NUL (as UTF-16 without a BOM would have)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := stream.read(BLOCK):
            decoder.decode(block)
            if b"\0" in block:
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def recode(stream: BinaryIO, encoding: str, named: bool) -> io.BufferedReader:
    """The stream as UTF-8. Raises InputError if its bytes are not in the encoding, which a user has `named` or not."""
    return io.BufferedReader(_Recoded(stream, encoding, named), BLOCK)


class LineDecoder:
    """Decodes the lines of a file that are not UTF-8.

    Attributes:
        rows: how many rows had such a line.
        first: the first of them; 0 is the header.

    """

    def __init__(self, encoding: str, is_guess: bool = False) -> None:
        self.encoding = encoding
        self.rows = 0
        self.first: int | None = None
        self._last: int | None = None
        self._is_guess = is_guess

    def forget(self) -> None:
        """Resets the counts."""
        self.rows, self.first, self._last = 0, None, None

    def __call__(self, line: bytes, offset: int, row: int) -> str:
        """The line's text. Raises InputError if the encoding does not fit."""
        try:
            text = line.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise InputError(
                f"not {self.encoding} at byte offset {offset + error.start}",
                row=row,
                remedy=_NAME if self._is_guess else _OTHER,
            ) from error
        # What was detected was detected from the first lines alone.
        if self._is_guess and (wrong := fault(text)):
            raise InputError(f"read as {self.encoding}, which was detected, it has {wrong}", row=row, remedy=_NAME)
        if control := _C1.search(text):
            raise InputError(
                f"read as {self.encoding}, it has the control character U+{ord(control[0]):04X}",
                row=row,
                remedy="give --encoding cp1252, which is what Excel writes" if _fits(line, "cp1252") else _OTHER,
            )
        if row != self._last:
            self.rows += 1
        self._last = row
        if self.first is None:
            self.first = row
        return text


def decode_utf8(line: bytes, offset: int, row: int) -> str:
    """The text of a line where no encoding is given. Raises InputError if it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        way = "cp1252 if Excel wrote it, else auto" if _fits(line, "cp1252") else "auto to have it detected"
        raise InputError(
            f"not UTF-8 at byte offset {offset + error.start}",
            row=row,
            remedy=f"save the file as UTF-8, or name its encoding to ingest: --encoding {way}",
        ) from error


def _fits(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


class _Recoded(io.RawIOBase):
    """Text of any encoding as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str, named: bool) -> None:
        self._stream = stream
        self._named = named
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._read = 0
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        ended = False
        while not self._waiting and not ended:
            block = self._stream.read(BLOCK)
            self._read += len(block)
            ended = not block
            try:
                self._waiting = self._decoder.decode(block, final=ended).encode()
            except UnicodeError as error:
                raise InputError(
                    self._reason(error),
                    remedy=_OTHER if self._named else "the file is damaged, so save it again, as UTF-8",
                ) from error
        taken, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _reason(self, error: UnicodeError) -> str:
        if isinstance(error, UnicodeDecodeError):
            return f"not {self._encoding} at byte offset {self._read - len(error.object) + error.start}"
        return f"not {self._encoding}: {error}"
