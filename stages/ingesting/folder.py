"""A folder of this machine, or one file of it, as a source."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from runtime.errors import AnswermillError, InputError
from runtime.os_errors import describe
from stages.common.files import files_below, is_hidden, open_below, open_regular, refuse_lost_folder
from stages.ingesting.source import TRIES, Advance, Listing, SourceObject

# Seconds for which a file's times cannot tell one state from the next: those of some file systems are so coarse.
COARSEST_CLOCK = 2.0

INSTEAD_OF_LINK = "put the file itself there, or give --follow-links if you trust whoever can write to the folder"


class FolderSource:
    """The files below a folder, or one file; a `stages.ingesting.source.Source`.

    Hidden names are passed over, as shells do. Links are followed as long as they stay below the folder: whoever may
    put a link into a drop folder must not thereby read what only the reader of that folder may read.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root = root
        self._follow_links = follow_links

    def list(self, wanted: Callable[[str], bool]) -> Listing:
        """As `Source.list`. A link to a folder elsewhere is listed with a slash at its end; fetching it refuses it."""
        for tries_left in reversed(range(TRIES)):
            try:
                if not self.root.is_dir():
                    return Listing({self.root.name: _state_of(self.root)})
                return self._list_folder(wanted)
            except FileNotFoundError as error:
                if not os.path.lexists(self.root):
                    raise AnswermillError(f"{self.root}: no such file or folder") from error
                # What was in a folder that is gone may be in another one now.
                if not tries_left:
                    raise AnswermillError(f"{describe(error)}; folders come and go there, so run again") from error
            except OSError as error:
                raise AnswermillError(
                    f"{describe(error)}; a folder that cannot be listed in full is not mirrored"
                ) from error
        raise AssertionError("TRIES is at least 1")

    def _list_folder(self, wanted: Callable[[str], bool]) -> Listing:
        objects, others = {}, 0
        for path in files_below(self.root, self._is_inside):
            name = path.relative_to(self.root)
            if is_hidden(name.as_posix()):
                continue
            # Unlike Path.is_dir, it says no if it may not ask; a link out of the folder is refused in either case.
            if os.path.isdir(path):  # noqa: PTH112
                objects[f"{name.as_posix()}/"] = SourceObject(str(path), 0)
            elif wanted(path.name) and path.is_symlink() and not self._is_inside(path):
                # Of no version, so that it is refused by every run.
                objects[name.as_posix()] = SourceObject(str(path), 0)
            elif wanted(path.name):
                # Gone since the folder was listed: somebody removes it, or gives it its final name.
                with contextlib.suppress(FileNotFoundError):
                    objects[name.as_posix()] = _state_of(path)
            else:
                if self._follow_links:
                    refuse_lost_folder(self.root, path)
                others += 1
        return Listing(dict(sorted(objects.items())), others)

    def fetch(self, item: SourceObject, file: BinaryIO, advance: Advance) -> SourceObject | None:
        """As `Source.fetch`. A file is whole if it has the same size and times before and after it is read."""
        path = Path(item.key)
        for _ in range(TRIES):
            file.seek(0)
            file.truncate()
            try:
                with self._open(path) as stream:
                    before = _state(path, os.fstat(stream.fileno()))
                    shutil.copyfileobj(stream, file, 1 << 20)
                    after = _state(path, os.fstat(stream.fileno()))
            except FileNotFoundError:
                return None
            except PermissionError as error:
                raise AnswermillError(describe(error)) from error
            except OSError as error:
                # Neither read nor write says which file it was.
                raise AnswermillError(
                    describe(OSError(error.errno, error.strerror, item.key, None, file.name))
                ) from error
            if before == after and file.tell() == after.size:
                advance(after.size)
                return after
        raise AnswermillError(f"{path}: it changes whenever it is read; copy it when nothing writes to it")

    def _open(self, path: Path) -> BinaryIO:
        """Opens the file that the path stands for. Raises InputError as `_real`, also for a link that is new there."""
        real = self._real(path)
        if self._follow_links or path == self.root:
            return open_regular(real)
        try:
            return open_below(self.root.resolve(), real)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise InputError("a link took its place while it was opened", remedy=INSTEAD_OF_LINK) from error
            raise

    def _is_inside(self, path: Path) -> bool:
        # Unlike Path.resolve, it takes a link to itself.
        return self._follow_links or Path(os.path.realpath(path)).is_relative_to(self.root.resolve())

    def _real(self, path: Path) -> Path:
        """The path without links. Raises InputError for a link out of the folder, or to nothing."""
        real = Path(os.path.realpath(path))
        if path != self.root and not self._is_inside(real):
            raise InputError("a link that leads out of the folder", remedy=INSTEAD_OF_LINK)
        if path.is_symlink() and not os.path.exists(real):  # noqa: PTH110 - Path.exists raises where it may not ask
            raise InputError("a link to nothing", remedy="remove it, or put the file there")
        return real


def _state_of(path: Path) -> SourceObject:
    """The state of what a name stands for; without a version if that cannot be told."""
    try:
        return _state(path, path.stat())
    except OSError:
        # A link to nothing, or to itself: `fetch` says which.
        path.lstat()
        return SourceObject(str(path), 0)


def _state(path: Path, state: os.stat_result) -> SourceObject:
    fields = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    settled = time.time() - max(state.st_ctime, state.st_mtime) > COARSEST_CLOCK
    return SourceObject(str(path), state.st_size, "-".join(map(str, fields)) if settled else "")
