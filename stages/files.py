"""Folders in, folders out: finding CSVs, and writing files that are whole or not there."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runtime.errors import AnswermillError


def csv_files(root: Path) -> dict[str, Path]:
    """Every CSV at or below `root`, by its path relative to `root`, in bytewise order; hidden names are passed over.

    Links are followed, the top one included: that is how Pachyderm lays out a datum. Raises AnswermillError where
    there is no such file or folder.
    """
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise AnswermillError(f"{root}: no such file or folder")
    found = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.lower().endswith(".csv") and not name.startswith("."):
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path
    return dict(sorted(found.items()))


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on disk; after any error or kill, `path` is as it was.

    The temporary name depends on `path` alone, so that a rerun overwrites what a killed run left. Raises
    AnswermillError where another process is writing the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name(path.name))
    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AnswermillError(f"{path}: another run is writing it") from error
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def partial_name(name: str) -> str:
    """Hidden name of fixed length: a suffix on a long name would pass the file system's 255 bytes."""
    return f".{hashlib.sha256(name.encode()).hexdigest()[:24]}.partial"
