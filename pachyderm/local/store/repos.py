"""Repos: folders of commits, a commit being a folder of files and a manifest beside it.

    ROOT/repos/NAME/000003/…        the files
    ROOT/repos/NAME/000003.json     id, and hash and size of each file; the commit exists once this does

Files are hard links, so a commit costs what changed in it.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.store.files import DamagedError, File, digest, is_whole, read_json, write_json

# Commits of a repo that are kept for people to look at.
KEPT = 20


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

    def path_of(self, path: str) -> Path:
        """Where the content of a file is."""
        return self.folder / path[1:]

    def holds(self, path: str) -> bool:
        """Whether the content of one of its files is there, whole."""
        return is_whole(self.path_of(path), self.files[path])


class Repo:
    """One repo of a root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    def numbers(self) -> list[int]:
        """Numbers of the finished commits, in order; one whose folder is gone is none."""
        names = (path.stem for path in self.folder.glob("[0-9]*.json"))
        numbers = (int(name) for name in names if name.isdecimal())
        return sorted(number for number in numbers if self._folder_of(number).is_dir())

    def next_number(self) -> int:
        """A number that no commit has had, not even one that is damaged: jobs remember their inputs by number."""
        names = (path.name.removesuffix(".json") for path in self.folder.glob("[0-9]*"))
        return max((int(name) for name in names if name.isdecimal()), default=0) + 1

    def has(self, number: int) -> bool:
        """Whether a commit is there, whole."""
        return self._manifest_of(number).exists() and self._folder_of(number).is_dir()

    def head(self) -> Commit:
        """The last commit; an empty one where there is none yet."""
        numbers = self.numbers()
        return self.commit(numbers[-1] if numbers else 0)

    def commit(self, number: int) -> Commit:
        """A commit by its number; a damaged manifest is made again. Raises PachydermError if it is not there."""
        folder = self._folder_of(number)
        if number == 0:
            return Commit(self.name, 0, "0" * 32, folder, {})
        try:
            return self._read(number)
        except FileNotFoundError as error:
            raise PachydermError(f"{folder}: no such commit") from error
        except DamagedError as error:
            logging.warning("%s; it is written again from the files in %s", error, folder)
        files = {f"/{path.relative_to(folder).as_posix()}": digest(path) for path in _regular_files(folder)}
        self._write_manifest(number, uuid.uuid4().hex, files)
        return self.commit(number)

    def publish(self, number: int, commit_id: str, files: Mapping[str, tuple[Path, File]]) -> Commit:
        """Makes a commit of files that lie on the same disk and are not changed any more. Repeatable."""
        folder = self._folder_of(number)
        partial = folder.with_name(f".{folder.name}.partial")
        for leftover in (folder, partial):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        # Text instead of paths: joining paths took a tenth of a job that skips 5,000 datums.
        made = {str(partial)}
        for path, (source, _) in files.items():
            target = f"{partial}{path}"
            if (parent := target.rpartition("/")[0]) not in made:
                Path(parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
            os.link(source, target)
        partial.rename(folder)
        self._write_manifest(number, commit_id, {path: file for path, (_, file) in files.items()})
        return self.commit(number)

    def unpublish(self, number: int) -> None:
        """Removes the commit of a job that a runner did not finish before it died."""
        self._manifest_of(number).unlink(missing_ok=True)

    def tick(self, name: str, commit_id: str, *, overwrite: bool) -> Commit:
        """Commits one empty file called `name`, alone with `overwrite`, else beside the earlier ones."""
        last = self.head()
        empty = self.folder / ".tick"
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.unlink(missing_ok=True)
        empty.touch(mode=0o444)
        files = {} if overwrite else {path: (last.path_of(path), file) for path, file in last.files.items()}
        files[f"/{name}"] = empty, digest(empty)
        made = self.publish(self.next_number(), commit_id, files)
        empty.unlink()
        return made

    def forget(self, needed: Iterable[int]) -> None:
        """Removes old commits except the last few and those that are needed."""
        for number in set(self.numbers()[:-KEPT]) - set(needed):
            self._manifest_of(number).unlink()
            shutil.rmtree(self._folder_of(number), ignore_errors=True)

    def _read(self, number: int) -> Commit:
        commit_id, files = _read_manifest(self._manifest_of(number))
        return Commit(self.name, number, commit_id, self._folder_of(number), files)

    def _write_manifest(self, number: int, commit_id: str, files: Mapping[str, File]) -> None:
        listing = {path: [file.hash, file.size] for path, file in sorted(files.items())}
        path = self._manifest_of(number)
        if path.is_dir():
            shutil.rmtree(path)
        write_json(path, {"id": commit_id, "files": listing})

    def _folder_of(self, number: int) -> Path:
        return self.folder / f"{number:06d}"

    def _manifest_of(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"


def _read_manifest(path: Path) -> tuple[str, dict[str, File]]:
    """Id and files. Raises DamagedError, FileNotFoundError."""
    manifest = read_json(path)
    try:
        files = {name: File(str(hash_), int(size)) for name, (hash_, size) in manifest["files"].items()}
        commit_id = manifest["id"]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path}: damaged") from error
    if not (isinstance(commit_id, str) and all(name.startswith("/") for name in files)):
        raise DamagedError(f"{path}: damaged")
    return commit_id, files


def _regular_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
