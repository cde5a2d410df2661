"""Where an export works, and how its bundle gets its final name: complete, or not there at all."""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runtime.bundle import MANIFEST
from runtime.errors import ExportError

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def check_output_folder(target: Path) -> None:
    """Raises ExportError if the output folder is a file, or a folder with something other than a bundle in it."""
    if target.is_dir():
        if not (target / MANIFEST).is_file() and any(target.iterdir()):
            raise ExportError(f"{target} is not empty and holds no bundle: choose another --output")
    elif target.exists() or target.is_symlink():
        raise ExportError(f"{target} is a file: choose another --output")


@contextlib.contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, on the same file system, so that the last step is a rename.

    It is removed when the block ends. So are the folders of killed exports of the same target, and a bundle that one of
    them had moved aside is put back; a folder in use is locked by its owner and stays. Raises ExportError if the disk
    is full.
    """
    with _lock(target.parent):
        _recover(target)
        work = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        # Held until the process ends, however it ends.
        owner = os.open(work, os.O_RDONLY)
        fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield work
    except Exception as error:
        if _disk_full(error):
            raise ExportError(
                f"{target.parent}: no space left on the device; make room there, or choose another --output"
            ) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(owner)


def publish(folder: Path, target: Path) -> None:
    """Gives a complete folder its final name; an older bundle there is replaced, and is whole until then.

    Raises ExportError if something other than a bundle is in the way.
    """
    with _lock(target.parent):
        check_output_folder(target)
        if not target.exists():
            folder.rename(target)
        elif not _exchange(folder, target):
            # A kill between these two leaves the older bundle where `_recover` looks for it.
            target.rename(_aside(folder.parent))
            folder.rename(target)


def _prefix(target: Path) -> str:
    return f".{target.name}.export-"


def _aside(work: Path) -> Path:
    return work / "replaced"


def _recover(target: Path) -> None:
    """Restores a bundle that a killed export had moved aside, and removes what killed exports left."""
    for work in target.parent.iterdir():
        if not work.name.startswith(_prefix(target)) or work.is_symlink() or not work.is_dir():
            continue
        try:
            owner = os.open(work, os.O_RDONLY)
        except FileNotFoundError:
            # Its owner has just removed it.
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            if _aside(work).is_dir() and not target.exists():
                _aside(work).rename(target)
            shutil.rmtree(work, ignore_errors=True)
        finally:
            os.close(owner)


@contextlib.contextmanager
def _lock(parent: Path) -> Iterator[None]:
    """Makes two exports take turns where one might see a half-finished step of the other."""
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step of the file system. False if that is not possible; nothing has changed then."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _disk_full(error: BaseException) -> bool:
    """Whether a full disk is the reason; libraries say so in words of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "no space left" in str(error).lower() or (error.__cause__ is not None and _disk_full(error.__cause__))
