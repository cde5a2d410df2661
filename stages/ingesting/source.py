"""Where CSVs come from: any place that fsspec knows. Google's buckets have a module of their own, `gcs`."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from runtime.errors import AnswermillError
from stages.common.files import files_below
from stages.common.names import is_csv

# How often an object is read that changes meanwhile, or arrives damaged, before it is given up.
TRIES = 5

Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Found:
    """One object to mirror.

    Attributes:
        place: where it is, in the terms of its source.
        size: bytes.
        version: what tells this state of it from any other.
        checksum: base64 of the CRC-32C that the bucket gives, empty where it gives none.
        gzipped: whether the bucket says that the bytes are gzipped text (Content-Encoding).

    """

    place: str
    size: int
    version: str = ""
    checksum: str = ""
    gzipped: bool = False


class Source(Protocol):
    """A place with CSVs."""

    def find(self) -> dict[str, Found]:
        """Every CSV below the URL, by name relative to it, in bytewise order; a URL of one object finds that one.

        Raises AnswermillError where there is nothing at the URL, or it cannot be asked.
        """

    def fetch(self, found: Found, file: BinaryIO, advance: Advance) -> Found | None:
        """Copies the object, whole and unchanged, into an empty file; tells `advance` how many bytes came.

        Returns what was copied: `found`, or the newer state that has replaced it; None if it is gone. Raises
        AnswermillError if it cannot be had.
        """


def open_source(url: str, timeout: float) -> Source:
    """The source that a URL names; a path without a protocol is a local one. `timeout` is in seconds, for gs://."""
    if url.startswith(("gs://", "gcs://")):
        from stages.ingesting.gcs import Bucket

        return Bucket(url, timeout)
    return Tree(url)


class Tree:
    """Whatever else fsspec opens: local folders, s3://, https://."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self._url = url
        try:
            # A listing once cached never expires (gcsfs#138).
            self._system, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except (ImportError, ValueError) as error:
            raise AnswermillError(f"{url}: {error}") from error
        self._root: str = root

    @property
    def folder(self) -> Path | None:
        """The URL as a path of this machine; None for any other place."""
        return Path(self._root) if "file" in self._system.protocol else None

    def find(self) -> dict[str, Found]:
        """As `Source.find`."""
        if self._system.isfile(self._root):
            return {self._root.rsplit("/", 1)[-1]: self._state(self._system.info(self._root))}
        if not self._system.isdir(self._root):
            raise AnswermillError(f"{self._url}: no such file or folder")
        prefix = self._root.rstrip("/") + "/"
        if self.folder is not None:
            # fsspec's own does not follow links to folders.
            places = [str(path) for path in files_below(self.folder) if is_csv(path.name)]
            details = {place: self._system.info(place) for place in places}
        else:
            details = self._system.find(self._root, detail=True)
        return {place.removeprefix(prefix): self._state(details[place]) for place in sorted(details) if is_csv(place)}

    def fetch(self, found: Found, file: BinaryIO, advance: Advance) -> Found | None:
        """As `Source.fetch`. Whole is what has the same size and times before and after it is read."""
        for _ in range(TRIES):
            file.seek(0)
            file.truncate()
            try:
                before = self._state(self._system.info(found.place))
                with self._system.open(found.place, "rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
                after = self._state(self._system.info(found.place))
            except FileNotFoundError:
                return None
            if before == after and file.tell() == after.size:
                advance(after.size)
                return after
        raise AnswermillError(f"{found.place}: it changes whenever it is read; copy it when nothing writes to it")

    def _state(self, info: Mapping[str, object]) -> Found:
        size = info.get("size")
        if not isinstance(size, int):
            raise AnswermillError(f"{info['name']}: {self._url} does not tell its size, so it cannot be copied safely")
        return Found(str(info["name"]), size, repr(sorted((name, str(value)) for name, value in info.items())))
