"""CSVs as they come, gzipped or in another encoding -> streams of UTF-8, in constant memory."""

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

from runtime.errors import InputError

BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"


def open_plain(path: Path, gzipped: bool, encoding: str | None) -> BinaryIO:
    """The file, inflated if it is `gzipped`; and if it is not UTF-8, read in `encoding`, if there is one.

    Raises InputError, here or when it is read, for what is no gzip archive or is not in the encoding.
    """
    if encoding is not None:
        with _inflated(path, gzipped) as stream:
            if not _is_utf8(stream):
                return _buffered(_Recoded(_inflated(path, gzipped), encoding))
    return _inflated(path, gzipped)


def _inflated(path: Path, gzipped: bool) -> io.BufferedReader:
    stream = path.open("rb")
    if not gzipped:
        return stream
    if not stream.peek(2).startswith(_GZIP):
        stream.close()
        raise InputError("not a gzip archive, though it is named so", remedy="name it .csv, or gzip it")
    return _buffered(_Inflated(stream))


def _buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, BLOCK)


def _is_utf8(stream: BinaryIO) -> bool:
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


class _Inflated(io.RawIOBase):
    """What a gzip archive holds, with its damages as InputError."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._archive = gzip.GzipFile(fileobj=stream)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        try:
            block = self._archive.read(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"a damaged gzip archive: {error}", remedy="gzip the CSV again") from error
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Recoded(io.RawIOBase):
    """Text of any encoding as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
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
                raise InputError(self._told(error), remedy="name the right one with --encoding") from error
        taken, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _told(self, error: UnicodeError) -> str:
        if isinstance(error, UnicodeDecodeError):
            return f"not {self._encoding} at byte offset {self._read - len(error.object) + error.start}"
        return f"not {self._encoding}: {error}"
