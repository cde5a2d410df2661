"""A folder of the user's -> a commit of what it holds now."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.store.files import File, digest, force_to_disk
from pachyderm.local.store.names import path_problem
from pachyderm.local.store.repos import Commit, Repo


def snapshot(repo: Repo, source: Path, commit_id: str) -> Commit:
    """Commits what a folder holds now, unless the last commit holds the same. Hidden names are left out.

    Raises PachydermError for a name that a repo does not take.
    """
    last = repo.head()
    visible = _by_path(source)
    files = {path: digest(file) for path, file in visible.items()}
    if last.number and files == last.files:
        return last
    incoming = repo.folder / ".incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    copies: dict[str, tuple[Path, File]] = {}
    incoming.mkdir(parents=True)
    for index, (path, file) in enumerate(visible.items()):
        if files[path] == last.files.get(path) and last.path_of(path).is_file():
            copies[path] = last.path_of(path), files[path]
            continue
        copy = incoming / str(index)
        shutil.copyfile(file, copy)
        copy.chmod(0o444)
        copies[path] = copy, digest(copy)
    force_to_disk(incoming.iterdir())
    made = repo.publish(repo.next_number(), commit_id, copies)
    shutil.rmtree(incoming, ignore_errors=True)
    return made


def digests(source: Path) -> dict[str, File]:
    """What a snapshot would hold. Raises PachydermError for a name that a repo does not take."""
    return {path: digest(file) for path, file in _by_path(source).items()}


def _by_path(source: Path) -> dict[str, Path]:
    visible = {f"/{path.relative_to(source).as_posix()}": path for path in sorted(visible_files(source))}
    for path, file in visible.items():
        if reason := path_problem(path):
            raise PachydermError(f"{file}: {reason}; rename it")
    return visible


def visible_files(source: Path) -> Iterator[Path]:
    """Files below a folder but for hidden ones.

    Links are followed, but no folder is entered twice: two links to their own parent would make 2^40 paths of one file.
    A folder that is reached by its own name and by a link is listed by its own name. Raises PachydermError for a link
    out of the folder to nothing: it may lead to a folder on a disk that is not mounted, and what is there is not gone.
    """
    entered = set()
    linked: list[Path] = []
    pending = [source]
    while pending or linked:
        folder = pending.pop() if pending else linked.pop(0)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (linked if entry.is_symlink() else pending).append(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)
            elif _is_lost(entry, source):
                raise PachydermError(f"{entry.path}: a link to nothing; mount what it leads to, or remove it")


def _is_lost(entry: "os.DirEntry[str]", source: Path) -> bool:
    """Whether it is a link to nothing that leads out of the folder."""
    # Unlike Path.exists, it says no if it may not ask.
    is_dangling = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110
    return is_dangling and not Path(os.path.realpath(entry.path)).is_relative_to(source.resolve())
