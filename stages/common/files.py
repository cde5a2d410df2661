"""Folders in, folders out: finding CSVs, and writing files that are whole or not there."""

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from runtime.errors import AnswermillError, InputError, OptionError
from runtime.locks import lock_at
from stages.common.names import PARTS, path_end

# Each time a folder must have become empty, and gone, between its making and the opening of a file in it.
_TRIES = 10
_NOT_REGULAR, _REGULAR = "not a regular file", "put a file in its place, or remove it"


def csv_files(root: Path) -> dict[str, Path]:
    """Every CSV at or below `root`, by its path relative to `root`, in bytewise order; hidden names are passed over.

    A part, or a folder of parts, that is given by itself is named as below the folder that ingest wrote: its own name
    does not say whose rows it holds, and they would be loaded a second time, as another file's. Links are followed,
    the top one included: that is how Pachyderm lays out a datum. Raises AnswermillError if there is no such file or
    folder, or a link may lead to a lost one, and OSError if a folder cannot be listed.
    """
    if not root.is_dir():
        if not os.path.lexists(root):
            raise AnswermillError(f"{root}: no such file or folder")
        return {path_end(root.absolute()): root}
    csvs = {}
    has_parts = root.absolute().name.endswith(PARTS)
    # As text: paths of pathlib's took as long as a fifth of loading a small file.
    start = len(str(root / "_")) - 1
    for path in files_below(root):
        name = str(path)[start:]
        if name[-4:].lower() == ".csv" and not is_hidden(name):
            csvs[path_end(path.absolute()) if has_parts and "/" not in name else name] = path
        elif not is_hidden(name):
            refuse_lost_folder(root, path)
    return dict(sorted(csvs.items()))


def refuse_lost_folder(root: Path, path: Path) -> None:
    """Raises AnswermillError for a link out of `root` to nothing, or to a folder on a disk that is not mounted."""
    # Unlike Path.exists, it says no if it may not ask.
    is_lost = path.is_symlink() and not os.path.exists(path)  # noqa: PTH110
    if is_lost and not Path(os.path.realpath(path)).is_relative_to(root.resolve()):
        raise AnswermillError(
            f"{path}: a link to nothing, which may have been a folder; mount what it leads to, or remove it"
        )


def size_of(path: Path) -> int:
    """The file's size in bytes; 0 if it is not known: opening the file will then fail."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def is_hidden(path: str) -> bool:
    """Whether the relative path has a part that begins with a dot."""
    return path.startswith(".") or "/." in path


def files_below(root: Path, follow: Callable[[Path], bool] = lambda _: True) -> Iterator[Path]:
    """Everything below a folder but folders. Links are followed, and each real folder is visited once.

    A folder that can be reached in several ways is visited under its own path before any link to it, so that the
    result does not depend on the names of links. A link that is not to be followed is given as it is. Raises OSError
    if a folder cannot be listed: one whose content is unknown must not pass for an empty one.
    """
    visited: set[tuple[int, int]] = set()
    folders, links = [root], deque[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        state = folder.stat()
        if (state.st_dev, state.st_ino) in visited:
            continue
        visited.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            path = folder / entry.name
            if (entry.is_symlink() and not follow(path)) or not _is_folder(entry):
                yield path
            elif entry.is_symlink():
                links.append(path)
            else:
                folders.append(path)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def open_regular(path: Path) -> io.BufferedReader:
    """Opens a regular file to read. Raises InputError for anything else: a pipe would block, a device never ends.

    Raises OSError if it is not there or cannot be read.
    """
    return io.BufferedReader(open_raw(path))


def open_below(root: Path, path: Path) -> io.BufferedReader:
    """As `open_regular`, for a path without links below the folder `root`, and follows none.

    Raises OSError if a link has taken the place of a part of the path since it was resolved.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.relative_to(root).parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return io.BufferedReader(open_raw(Path(path.name), folder))
    except OSError as error:
        # It has the name in the folder alone.
        error.filename = str(path)
        raise
    finally:
        os.close(folder)


def open_raw(path: Path, folder: int | None = None) -> io.FileIO:
    """As `open_regular`, but without a buffer, which takes longer to make than a small file to be read.

    With the descriptor of a folder, the path is a name in it, and no link.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if folder is None else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        # A socket, or a device that is not there.
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise InputError(_NOT_REGULAR, remedy=_REGULAR) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(_NOT_REGULAR, remedy=_REGULAR)
        return io.FileIO(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def begins_with(path: Path, beginning: bytes) -> bool:
    """Whether a regular file may be one that begins like this: a torn or empty one may."""
    try:
        with open_regular(path) as file:
            return beginning.startswith(file.read(len(beginning)))
    except (InputError, OSError):
        return False


def check_apart(source: Path, target: Path) -> None:
    """Raises OptionError if what is written to the folder `target` would be read from, or replace, what is in `source`.

    A stage that reads its own output, or overwrites its input, does something else each time it runs.
    """
    read, written = source.resolve(), target.resolve()
    if written == (read.parent if read.is_file() else read) or (read.is_dir() and written.is_relative_to(read)):
        raise OptionError(f"OUTPUT ({target}) lies in INPUT ({source}); choose a folder outside of it")


def is_datum() -> bool:
    """Whether this process handles a datum of Pachyderm's, whose output starts empty and is taken away afterwards."""
    return "PACH_DATUM_ID" in os.environ


@contextlib.contextmanager
def whole_file(path: Path, resumable: Path | None = None) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on disk; after any error or kill, `path` is as it was.

    The temporary name depends on `path` alone, so that a rerun overwrites what a killed run left. Where another name is
    given for it, `resumable`, SIGTERM and Ctrl-C leave it there as SIGKILL does. Raises AnswermillError if another
    process is writing the same file, and for a device, a pipe or a folder: root would replace even `/dev/null`.

    A datum's output is not forced to the disk: it is on its way to a repo, and a node that loses power does the datum
    again. To wait for the disk took as long as all else that a datum of one row costs.
    """
    if _is_special(path):
        raise AnswermillError(f"{path}: not a regular file, so it is not replaced; choose another name")
    partial = resumable or path.with_name(partial_name(path.name))
    # Around the file too: where the disk is full, closing it fails once more, and that names nothing.
    with name_errors(path), _open_in_folder(partial) as file:
        if not lock_at(partial, file.fileno()):
            raise AnswermillError(f"{path}: another run is writing it")
        try:
            # What a killed run left; the position is at its end until it is set.
            file.truncate(0)
            file.seek(0)
            yield file
            file.flush()
            if not is_datum():
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException as error:
            if not resumable or isinstance(error, Exception):
                partial.unlink(missing_ok=True)
            raise


def _open_in_folder(path: Path) -> BinaryIO:
    """Opens a file to append to, in a folder that is made; again if another share of the run has just removed it."""
    for tries_left in reversed(range(_TRIES)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")
        except (FileNotFoundError, FileExistsError):
            if not tries_left:
                raise
    raise AssertionError


@contextlib.contextmanager
def name_errors(path: Path | str) -> Iterator[None]:
    """Makes errors of a full disk or a closed pipe say where: writing names no file, and polars not even a number."""
    try:
        yield
    except OSError as error:
        if number := _write_error(error):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def _is_special(path: Path) -> bool:
    """Whether there is anything but a regular file, or a link to nothing. `/dev/stdout` may be a link to a file."""
    is_device = path.absolute().parent in (Path("/dev"), Path("/dev/fd")) and os.path.lexists(path)
    return is_device or (path.exists() and not path.is_file())


def _write_error(error: OSError) -> int | None:
    """The number of the error, if a file could not grow any more, or nobody reads the pipe any more."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)
    if error.errno is None:
        return next((number for number in numbers if re.search(rf"(os error|\[Errno) {number}\b", str(error))), None)
    return error.errno if error.errno in numbers else None


def partial_name(name: str) -> str:
    """Hidden name of fixed length: a suffix on a long name would pass the file system's 255 bytes."""
    return f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:24]}.partial"
