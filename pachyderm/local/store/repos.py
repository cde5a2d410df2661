"""Repos: folders of commits, a commit being a folder of files and a manifest beside it.

    ROOT/repos/NAME/000003/…        the files
    ROOT/repos/NAME/000003.json     id, and hash and size of each file; the commit exists once this does

Files are hard links, so a commit costs what changed in it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.local.store.names import path_problem

# Commits of a repo that are kept for people to look at.
KEPT = 20


@dataclass(frozen=True, slots=True)
class File:
    """Hash and size of a file's content."""

    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a repo. Paths of files start with a slash.

    Attributes:
        number: counts up from 1; 0 is the empty commit before the first.
        id: what Pachyderm would call it, 32 hexadecimal digits; all that one change led to has the same.

    """

    repo: str
    number: int
    id: str
    folder: Path
    files: Mapping[str, File]

    def place(self, path: str) -> Path:
        """Where the content of a file is."""
        return self.folder / path[1:]


def write_json(path: Path, content: Any) -> None:
    """Writes a file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def digest(path: Path) -> File:
    """Hash and size of a file. Raises OSError."""
    with path.open("rb") as file:
        hashed = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        return File(hashed.hexdigest(), file.tell())


def numbers(folder: Path) -> list[int]:
    """Numbers of the finished commits of a repo's folder, in order."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json"))


def head(root: Path, repo: str) -> Commit:
    """The repo's last commit; an empty one where there is none yet."""
    found = numbers(root / "repos" / repo)
    return commit(root, repo, found[-1] if found else 0)


def commit(root: Path, repo: str, number: int) -> Commit:
    """A commit by its number. Raises PachydermError if it is not there."""
    folder = root / "repos" / repo / f"{number:06d}"
    if number == 0:
        return Commit(repo, 0, "0" * 32, folder, {})
    try:
        manifest = json.loads(folder.with_suffix(".json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise PachydermError(f"{folder}: no such commit") from error
    files = {path: File(*entry) for path, entry in manifest["files"].items()}
    return Commit(repo, number, manifest["id"], folder, files)


def publish(root: Path, repo: str, number: int, commit_id: str, files: Mapping[str, tuple[Path, File]]) -> Commit:
    """Makes a commit of files that lie on the same disk and are not changed any more. Repeatable."""
    folder = root / "repos" / repo / f"{number:06d}"
    partial = folder.with_name(f".{folder.name}.partial")
    for leftover in (folder, partial):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    made = {partial}
    for path, (source, _) in files.items():
        target = partial / path[1:]
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        os.link(source, target)
    partial.rename(folder)
    listing = {path: [file.hash, file.size] for path, (_, file) in sorted(files.items())}
    write_json(folder.with_suffix(".json"), {"id": commit_id, "files": listing})
    return commit(root, repo, number)


def unpublish(root: Path, repo: str, number: int) -> None:
    """Takes a commit back, of a job that a dying runner had not finished."""
    (root / "repos" / repo / f"{number:06d}.json").unlink(missing_ok=True)


def snapshot(root: Path, repo: str, source: Path, commit_id: str) -> Commit:
    """Commits what a folder of the user's holds now, unless the last commit holds the same. Hidden names are left out.

    Raises PachydermError for a name that a repo does not take.
    """
    last = head(root, repo)
    found = {f"/{path.relative_to(source).as_posix()}": path for path in _visible(source)}
    for path, place in found.items():
        if reason := path_problem(path):
            raise PachydermError(f"{place}: {reason}; rename it")
    files = {path: digest(place) for path, place in found.items()}
    if last.number and files == last.files:
        return last
    incoming = root / "repos" / repo / ".incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    copies: dict[str, tuple[Path, File]] = {}
    for index, (path, place) in enumerate(found.items()):
        incoming.mkdir(parents=True, exist_ok=True)
        copy = incoming / str(index)
        shutil.copyfile(place, copy)
        copy.chmod(0o444)
        copies[path] = copy, digest(copy)
    made = publish(root, repo, last.number + 1, commit_id, copies)
    shutil.rmtree(incoming, ignore_errors=True)
    return made


def tick(root: Path, repo: str, name: str, commit_id: str, *, overwrite: bool) -> Commit:
    """Commits one empty file called `name`, alone with `overwrite`, else beside the earlier ones."""
    last = head(root, repo)
    empty = root / "repos" / repo / ".tick"
    empty.parent.mkdir(parents=True, exist_ok=True)
    empty.unlink(missing_ok=True)
    empty.touch(mode=0o444)
    files = {} if overwrite else {path: (last.place(path), file) for path, file in last.files.items()}
    files[f"/{name}"] = empty, digest(empty)
    made = publish(root, repo, last.number + 1, commit_id, files)
    empty.unlink()
    return made


def forget(root: Path, repo: str, needed: Iterable[int]) -> None:
    """Removes old commits but for the last few and those that are needed."""
    folder = root / "repos" / repo
    for number in set(numbers(folder)[:-KEPT]) - set(needed):
        (folder / f"{number:06d}.json").unlink()
        shutil.rmtree(folder / f"{number:06d}", ignore_errors=True)


def _visible(source: Path) -> list[Path]:
    """Files below a folder, links followed, in bytewise order."""
    found: list[Path] = []
    for folder, folders, names in os.walk(source, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())
