"""Repos: folders of commits, a commit being a folder of files and a manifest beside it.

    ROOT/repos/NAME/000003/…        the files
    ROOT/repos/NAME/000003.json     id, and hash and size of each file; the commit exists once this does

Files are hard links, so a commit costs what changed in it.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.store.files import File, digest, write_json

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


class Repo:
    """One repo of a root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    def numbers(self) -> list[int]:
        """Numbers of the finished commits, in order."""
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.json"))

    def head(self) -> Commit:
        """The last commit; an empty one where there is none yet."""
        numbers = self.numbers()
        return self.commit(numbers[-1] if numbers else 0)

    def commit(self, number: int) -> Commit:
        """A commit by its number. Raises PachydermError if it is not there."""
        folder = self._folder_of(number)
        if number == 0:
            return Commit(self.name, 0, "0" * 32, folder, {})
        try:
            manifest = json.loads(folder.with_suffix(".json").read_text("utf-8"))
        except FileNotFoundError as error:
            raise PachydermError(f"{folder}: no such commit") from error
        files = {path: File(*entry) for path, entry in manifest["files"].items()}
        return Commit(self.name, number, manifest["id"], folder, files)

    def publish(self, number: int, commit_id: str, files: Mapping[str, tuple[Path, File]]) -> Commit:
        """Makes a commit of files that lie on the same disk and are not changed any more. Repeatable."""
        folder = self._folder_of(number)
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
        return self.commit(number)

    def unpublish(self, number: int) -> None:
        """Takes a commit back, of a job that a dying runner had not finished."""
        self._folder_of(number).with_suffix(".json").unlink(missing_ok=True)

    def tick(self, name: str, commit_id: str, *, overwrite: bool) -> Commit:
        """Commits one empty file called `name`, alone with `overwrite`, else beside the earlier ones."""
        last = self.head()
        empty = self.folder / ".tick"
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.unlink(missing_ok=True)
        empty.touch(mode=0o444)
        files = {} if overwrite else {path: (last.path_of(path), file) for path, file in last.files.items()}
        files[f"/{name}"] = empty, digest(empty)
        made = self.publish(last.number + 1, commit_id, files)
        empty.unlink()
        return made

    def forget(self, needed: Iterable[int]) -> None:
        """Removes old commits but for the last few and those that are needed."""
        for number in set(self.numbers()[:-KEPT]) - set(needed):
            self._folder_of(number).with_suffix(".json").unlink()
            shutil.rmtree(self._folder_of(number), ignore_errors=True)

    def _folder_of(self, number: int) -> Path:
        return self.folder / f"{number:06d}"
