"""What is said of errors of the operating system: where, and what to do."""

import errno
import os
import pwd
from pathlib import Path

from runtime.errors import AnswermillError

_FREE = "free some space and run again"
_REMEDIES = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EFBIG: "raise the limit (ulimit -f), or use a file system that takes larger files",
    errno.EIO: "check the disk, or the network drive, that it is on",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (fs.file-max)",
    errno.EROFS: "choose a folder on a file system that can be written",
    errno.EEXIST: "choose another name, since a folder is to be made there",
    errno.ENOTDIR: "choose another path, since a file is in the place of a folder",
}


def describe(error: OSError | AnswermillError, place: Path | None = None) -> str:
    """`/data/out: No space left on device`, with every file that the error names, or the place if it names none."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno in (errno.EACCES, errno.EPERM) and isinstance(error.filename, str | bytes) and not error.filename2:
        place = _nearest(Path(os.fsdecode(error.filename)))
        return f"{place}: {error.strerror}; give {_user()} the right to it (chmod or chown), or choose another path"
    files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name) or str(place or "")
    if not files and _REMEDIES.get(error.errno or 0) == _FREE:
        # Everything else that is written has a name.
        files = "stdout, or a temporary file"
    text = f"{files}: {error.strerror}" if files and error.strerror else str(error)
    return f"{text}; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else text


def _nearest(path: Path) -> Path:
    """The path or, of a file that is not there, such as one that is about to be written, the folder that is."""
    return next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))


def _user() -> str:
    number = os.geteuid()
    try:
        return f"the user {pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return f"the user {number}"
