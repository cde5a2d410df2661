"""The root: all state of the local runner."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.store.journal import Journal
from pachyderm.local.store.repos import Repo


@dataclass(frozen=True, slots=True)
class Store:
    """ROOT/repos and ROOT/jobs."""

    root: Path

    def repo(self, name: str) -> Repo:
        """A repo by its name, whether anything is in it or not."""
        return Repo(self.root / "repos" / name)

    def repos(self) -> list[Repo]:
        """The repos that are there, in order of their names."""
        return [Repo(folder) for folder in sorted((self.root / "repos").glob("*")) if folder.is_dir()]

    def pipeline(self, name: str) -> Journal:
        """The jobs of a pipeline."""
        return Journal(self.root / "jobs" / name)

    def pipelines(self) -> list[str]:
        """Names of the pipelines that have had a job."""
        folders = sorted((self.root / "jobs").glob("*"))
        return [folder.name for folder in folders if any(folder.glob("[0-9]*/job.json"))]

    def check(self) -> None:
        """Raises PachydermError where nothing has run yet."""
        if not (self.root / "jobs").is_dir():
            raise PachydermError(f"{self.root}: nothing has run here yet; python -m pachyderm run --root {self.root}")


@contextmanager
def exclusive_root(root: Path) -> Iterator[Path]:
    """Keeps other runners off the root, and gives a folder that is gone afterwards. Raises PachydermError."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise PachydermError(f"{root}: in use by the runner with process id {lock.read().strip()}") from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        work = root / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(exist_ok=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
