"""Any place that fsspec knows and that has no source of its own here: s3://, sftp://, memory:// and many more."""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

from runtime.errors import AnswermillError
from runtime.quoting import safe_url, without_secrets
from stages.ingesting.source import TRIES, Advance, Listing, SourceObject

# Fields that tell a file's content from any other, by their names; those that tell when it was written.
_CONTENT = re.compile("etag|generation|hash|sha|hex|md5|crc|checksum|version|blob", re.IGNORECASE)
_TIME = re.compile("mod|mtime|updated|created|write", re.IGNORECASE)
# Seconds for which a time tells nothing: FTP's are of a minute, and the server's clock may differ from this one.
_COARSEST_CLOCK = 3600.0


class FsspecSource:
    """The objects below an fsspec URL; a `stages.ingesting.source.Source`."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self._given, self._url = url, safe_url(url)
        try:
            # A listing once cached never expires (gcsfs#138).
            self._system, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except Exception as error:
            # Each protocol has a library of its own, with errors of its own.
            raise AnswermillError(f"{self._url}: {without_secrets(str(error), url)}") from error
        self._root: str = root

    def list(self, wanted: Callable[[str], bool]) -> Listing:
        """As `Source.list`."""
        try:
            if not self._system.exists(self._root):
                raise AnswermillError(f"{self._url}: no such file or folder")
            below = self._below()
            if not below and self._system.isfile(self._root):
                return Listing({self._root.rsplit("/", 1)[-1]: self._state(self._system.info(self._root))})
        except OSError as error:
            raise AnswermillError(
                f"{self._url}: {self._reason(error)}; it could not be listed in full, so run again"
            ) from error
        prefix = self._root.rstrip("/") + "/"
        keys = [key for key in sorted(below) if wanted(key)]
        objects = {key.removeprefix(prefix): self._state(below[key]) for key in keys}
        return Listing(objects, len(below) - len(keys))

    def _below(self) -> dict[str, Mapping[str, object]]:
        """What lies below the root, which may itself be an object too.

        fsspec's own `find` gives that object alone, and takes a folder that it may not list for an empty one; so does
        its `walk(on_error="raise")`, which forgets the option on its way down.
        """
        files: dict[str, Mapping[str, object]] = {}
        folders, visited = [self._root], set[str]()
        while folders:
            folder = folders.pop()
            visited.add(folder.rstrip("/"))
            for info in self._system.ls(folder, detail=True):
                name = str(info["name"])
                if name.rstrip("/") in visited:
                    continue
                if info["type"] == "directory":
                    folders.append(name)
                else:
                    files[name] = info
        return files

    def fetch(self, item: SourceObject, file: BinaryIO, advance: Advance) -> SourceObject | None:
        """As `Source.fetch`. A file is whole if it has the same size and times before and after it is read."""
        for _ in range(TRIES):
            file.seek(0)
            file.truncate()
            try:
                before = _fields(self._system.info(item.key))
                with self._system.open(item.key, "rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
                info = self._system.info(item.key)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise AnswermillError(f"{safe_url(item.key)}: {self._reason(error)}") from error
            after = self._state(info)
            if before == _fields(info) and file.tell() == after.size:
                advance(after.size)
                return after
        raise AnswermillError(
            f"{safe_url(item.key)}: it changes whenever it is read; copy it when nothing writes to it"
        )

    def _reason(self, error: Exception) -> str:
        return without_secrets(str(error), self._given)

    def _state(self, info: Mapping[str, object]) -> SourceObject:
        size = info.get("size")
        if not isinstance(size, int):
            raise AnswermillError(
                f"{safe_url(str(info['name']))}: {self._url} does not say how large it is, so it cannot be copied "
                "safely; copy it to a folder first"
            )
        return SourceObject(str(info["name"]), size, _fields(info) if self._is_telling(info) else "")

    def _is_telling(self, info: Mapping[str, object]) -> bool:
        """Whether no other content of the file can have these very fields. Some places tell no more than its size."""
        from fsspec.archive import AbstractArchiveFileSystem

        # A weak ETag may stay the same when bytes change.
        if any(value and _CONTENT.search(name) and str(value)[:2] != "W/" for name, value in info.items()):
            return True
        # In an archive it is whatever time the packer has put there.
        times = [] if isinstance(self._system, AbstractArchiveFileSystem) else list(_times(info))
        return bool(times) and max(times) < time.time() - _COARSEST_CLOCK


def _fields(info: Mapping[str, object]) -> str:
    return repr(sorted((name, str(value)) for name, value in info.items()))


def _times(info: Mapping[str, object]) -> Iterator[float]:
    """When it was written, in seconds since 1970, by each field that says so in a known way."""
    for name, value in info.items():
        if not _TIME.search(name):
            continue
        if isinstance(value, datetime):
            yield (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        elif isinstance(value, int | float):
            # WebHDFS counts milliseconds.
            yield value / 1000 if value > 1e11 else float(value)
