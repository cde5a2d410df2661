"""Folders in, folders out: finding CSVs, and writing files that are whole or not there."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runtime.errors import AnswermillError, OptionError


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
    for path in files_below(root):
        name = path.relative_to(root)
        if path.suffix.lower() == ".csv" and not any(part.startswith(".") for part in name.parts):
            found[name.as_posix()] = path
    return dict(sorted(found.items()))


def files_below(root: Path) -> Iterator[Path]:
    """Every file below a folder. Links are followed, but not back to a folder on the way to them."""
    for folder, folders, names in os.walk(root, followlinks=True):
        above = [Path(folder), *Path(folder).parents]
        folders[:] = [
            name
            for name in folders
            if not (link := Path(folder, name)).is_symlink() or not any(link.samefile(other) for other in above)
        ]
        for name in names:
            yield Path(folder, name)


def check_apart(source: Path, target: Path) -> None:
    """Raises OptionError if what is written to the folder `target` would be read from, or replace, what is in `source`.

    A stage that reads its own output, or overwrites its input, does another thing each time it runs.
    """
    read, written = source.resolve(), target.resolve()
    if written == (read.parent if read.is_file() else read) or (read.is_dir() and written.is_relative_to(read)):
        raise OptionError(f"OUTPUT ({target}) lies in INPUT ({source}); choose a folder outside of it")


@contextlib.contextmanager
def whole_file(path: Path, resumable: Path | None = None) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on disk; after any error or kill, `path` is as it was.

    The temporary name depends on `path` alone, so that a rerun overwrites what a killed run left. Where another name is
    given for it, `resumable`, SIGTERM and Ctrl-C leave it there as SIGKILL does. Raises AnswermillError where another
    process is writing the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = resumable or path.with_name(partial_name(path.name))
    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AnswermillError(f"{path}: another run is writing it") from error
        try:
            # What a killed run left; the position is at its end until it is set.
            file.truncate(0)
            file.seek(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        except BaseException as error:
            if not resumable or isinstance(error, Exception):
                partial.unlink(missing_ok=True)
            raise


def partial_name(name: str) -> str:
    """Hidden name of fixed length: a suffix on a long name would pass the file system's 255 bytes."""
    return f".{hashlib.sha256(name.encode()).hexdigest()[:24]}.partial"
