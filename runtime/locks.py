"""Locks on files and folders that whoever has them renames or removes at the end. Standard library only."""

import fcntl
import os
from pathlib import Path


def lock_at(path: Path, descriptor: int) -> bool:
    """Locks what was opened at a path until it is closed. False if it is another's, or not at that path any more.

    Between the opening and the lock its owner may have ended: then it is the finished file, to be left as it is.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
