"""Files of the state: hashed, and written so that they are whole or not there."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Files that wait for the disk at a time; the file system then writes its journal once for all of them.
_SYNCS = 8


@dataclass(frozen=True, slots=True)
class File:
    """Hash and size of a file's content."""

    hash: str
    size: int


class DamagedError(ValueError):
    """A file of the state is not what the runner writes; the message names it."""


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises DamagedError for anything else, FileNotFoundError if there is nothing."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise DamagedError(f"{path}: damaged") from error


def write_json(path: Path, content: Any) -> None:
    """Writes a file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    # A reason may hold a name that is not UTF-8, which then stands there as JSON's own escape.
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(content, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def is_whole(path: Path, file: File) -> bool:
    """Whether the content is there, in its whole length: a power failure may cut what was not forced to the disk."""
    try:
        there = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(there.st_mode) and there.st_size == file.size


def force_to_disk(paths: Iterable[Path]) -> None:
    """Waits until the content of all files is on the disk: together, which takes a tenth of one after the other."""
    with ThreadPoolExecutor(_SYNCS) as threads:
        for _ in threads.map(_force_to_disk, paths):
            pass


def _force_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def digest(path: Path) -> File:
    """Hash and size of a file. Raises OSError."""
    with path.open("rb") as file:
        hashed = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        return File(hashed.hexdigest(), file.tell())
