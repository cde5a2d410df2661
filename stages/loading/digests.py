"""Which version of each CSV was loaded, told to prune by the names of empty files in what load passes on.

A job that fails, or is killed, may have loaded some of its files. If the bucket then goes back to what the last good
job had, Pachyderm takes their datums for done, and the table keeps what the failed job has brought. `prune` sees the
names of what the good job has passed on, and no bytes (`emptyFiles`), so the digest stands in a name.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

DIGESTS = "digests"


def digest_path(path: str, sha256: str) -> str:
    """Where an empty file, below what load passes on, says that the CSV at `path` has this content."""
    return f"{DIGESTS}/{key(path)}-{sha256}"


def digests_in(paths: Iterable[str]) -> Iterator[str]:
    """Those of the paths that are of digests."""
    return (path for path in paths if path.startswith(f"{DIGESTS}/"))


def touch(file: Path) -> None:
    """Makes an empty file, and the folders that lead to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def read_digests(folder: Path) -> dict[str, str]:
    """The digests below a folder that load has written, by `key` of their paths; none if it was not asked to."""
    if not (folder / DIGESTS).is_dir():
        return {}
    return dict(file.name.split("-", 1) for file in (folder / DIGESTS).iterdir() if "-" in file.name)


def key(path: str) -> str:
    """Stands for a path, however long that is, in the name of a file."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()
