"""Archives -> their content, in constant memory and within limits. Recognised by first bytes, not by names."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runtime.errors import InputError
from stages.common.files import is_hidden
from stages.common.names import is_table
from stages.csvs.formats import BZIP2, starts_as
from stages.ingesting.limits import Limits, check_unpacked

BLOCK = 1 << 20
# A CSV gzipped in a bucket that gzips again is taken; more layers than that are nobody's mistake.
_LAYERS = 2
# By a file that each has.
_DOCUMENTS = {
    "word/document": "a Word document",
    "ppt/presentation": "a PowerPoint presentation",
    "META-INF/container.xml": "an e-book",
    "META-INF/manifest.xml": "an OpenDocument file",
}
_DAMAGES = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


class _Archive(Protocol):
    """An archive that is open to read."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> object: ...


@dataclass(slots=True)
class Unpacked:
    """What a file holds.

    Attributes:
        stream: the content.
        kinds: the kinds of archive that it came in, outermost first.
        member: its name in a zip archive; None if it came in none.

    """

    stream: io.BufferedReader
    kinds: list[str] = field(default_factory=list)
    member: str | None = None


def open_unpacked(path: Path, limits: Limits) -> Unpacked:
    """The file's content, out of the archives that it is in.

    Raises InputError, here or when it is read, for an archive that is damaged, too large, or not of one table.
    """
    unpacked = Unpacked(path.open("rb"))
    try:
        while len(unpacked.kinds) < _LAYERS and (kind := _kind(unpacked.stream, first=not unpacked.kinds)):
            packed = unpacked.stream
            inner = _open(kind, packed)
            if isinstance(inner, zipfile.ZipExtFile):
                unpacked.member = inner.name
            unpacked.stream = io.BufferedReader(_Unpacked(inner, packed, kind, path.stat().st_size, limits), BLOCK)
            unpacked.kinds.append(kind)
    except BaseException:
        unpacked.stream.close()
        raise
    return unpacked


def _kind(stream: io.BufferedReader, first: bool) -> str | None:
    head = stream.peek(16)
    if not _ANY_KIND.match(head):
        return None
    kind = next((kind for kind, (mark, _) in _KINDS.items() if starts_as(mark, head)), None)
    # A zip archive is read from its end.
    return kind if first or kind != "zip" else None


def _open(kind: str, stream: io.BufferedReader) -> "_Archive":
    try:
        return _KINDS[kind][1](stream)
    except _DAMAGES as error:
        raise _damage_error(kind, error) from error


def _open_zip(stream: io.BufferedReader) -> "_Archive":
    archive = zipfile.ZipFile(stream)
    _check_is_no_document(archive.namelist())
    files = [
        member
        for member in archive.infolist()
        if not (member.is_dir() or is_hidden(Path(member.filename).as_posix()) or _is_resource(member))
    ]
    # A single file may have any name, as what a program packed that gives none.
    tables = files if len(files) == 1 else [member for member in files if is_table(member.filename)]
    if len(tables) != 1:
        raise InputError(f"a zip archive with {len(tables)} tables in it", remedy="zip one, or put the tables there")
    if tables[0].flag_bits & 1:
        raise InputError("a zip archive with a password", remedy="zip the table without one")
    return archive.open(tables[0])


def _check_is_no_document(names: Collection[str]) -> None:
    """Raises InputError for the files of office programs, which are zip archives too."""
    if "xl/workbook.xml" in names or "xl/workbook.bin" in names:
        raise InputError("an Excel workbook, not a CSV", remedy='save the sheet as "CSV UTF-8"')
    kind = next((kind for mark, kind in _DOCUMENTS.items() if any(name.startswith(mark) for name in names)), None)
    if kind:
        raise InputError(f"{kind}, not a CSV", remedy="put its table there as CSV in UTF-8")


def _is_resource(member: zipfile.ZipInfo) -> bool:
    """Whether macOS has put it in beside the file."""
    return member.filename.startswith("__MACOSX/")


def _open_zstd(stream: io.BufferedReader) -> "_Archive":
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile
    else:
        from backports.zstd import ZstdFile

    opened: _Archive = ZstdFile(stream)
    return opened


_KINDS: dict[str, tuple[bytes, Callable[[io.BufferedReader], "_Archive"]]] = {
    "gzip": (rb"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    "bzip2": (BZIP2, bz2.BZ2File),
    "xz": (rb"\xfd7zXZ\x00", lzma.LZMAFile),
    "zstd": (rb"\x28\xb5\x2f\xfd", _open_zstd),
    "zip": (rb"PK\x03\x04", _open_zip),
}
# All at once, since most objects are no archive.
_ANY_KIND = re.compile(b"|".join(mark for mark, _ in _KINDS.values()))


def _damage_error(kind: str, error: Exception) -> InputError:
    if isinstance(error, NotImplementedError):
        # Deflate64, as Windows packs large files, and Zstandard within zip.
        return InputError(
            f"a {kind} archive packed by a method that ingest does not know", remedy="pack the CSV with gzip"
        )
    return InputError(f"a damaged {kind} archive: {error}", remedy=f"pack the CSV with {kind} again")


class _Unpacked(io.RawIOBase):
    """What an archive holds, with its damages as InputError, until it passes a limit."""

    def __init__(self, archive: "_Archive", packed: io.BufferedReader, kind: str, size: int, limits: Limits) -> None:
        self._archive = archive
        self._packed = packed
        self._kind = kind
        self._size = size
        self._limits = limits
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        try:
            block = self._archive.read(len(buffer))
        except _DAMAGES as error:
            raise _damage_error(self._kind, error) from error
        except OSError as error:
            # gzip and bz2 raise it for damages; those of the disk have a number.
            if error.errno is not None:
                raise
            raise _damage_error(self._kind, error) from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            raise _damage_error(self._kind, error) from error
        self._unpacked += len(block)
        check_unpacked(self._unpacked, self._size, f"a {self._kind} archive", self._limits)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._archive.close()
        self._packed.close()
        super().close()
