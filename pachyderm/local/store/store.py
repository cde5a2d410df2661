"""The root: all state of the local runner."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.store.journal import Journal
from pachyderm.local.store.repos import Repo

# The path of a Unix socket has room for 107 bytes.
_LONGEST_SOCKET_FOLDER = 60


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

    def known_pipelines(self) -> list[str]:
        """Names of all pipelines, including those that have had no job yet."""
        waiting = [path.parent.name for path in (self.root / "jobs").glob("*/input.json")]
        return sorted({*self.pipelines(), *waiting})

    def is_in_use(self) -> bool:
        """Whether a runner is at work here, by its process id: trying the lock could turn a runner away."""
        try:
            os.kill(int((self.root / "lock").read_text("utf-8")), 0)
        except PermissionError:
            return True
        except (OSError, ValueError, OverflowError):
            return False
        return True

    def check(self) -> None:
        """Raises PachydermError if nothing has run yet."""
        if not (self.root / "jobs").is_dir():
            raise PachydermError(f"{self.root}: nothing has run here yet; start with answermill run --root {self.root}")


@contextmanager
def exclusive_root(root: Path) -> Iterator[Path]:
    """Keeps other runners off the root, and gives a folder that is gone afterwards. Raises PachydermError."""
    root.mkdir(parents=True, exist_ok=True)
    is_ours = os.path.lexists(root / "work/sockets") or all((root / name).exists() for name in ("repos", "jobs"))
    if os.path.lexists(root / "work") and not is_ours:
        # It is emptied at the start and at the end of each run.
        raise PachydermError(
            f"{root / 'work'}: no run has made it; give --root a folder of its own, such as {root}/run"
        )
    with (root / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise PachydermError(
                f"{root}: in use by the runner with process id {lock.read().strip()}; wait, or give another --root"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        # Nobody else may read rows, logs and environments of datums, in a root of an earlier version either.
        for name in ("repos", "jobs"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
            (root / name).chmod(0o700)
        with _work_folder(root / "work") as work:
            yield work


@contextmanager
def _work_folder(work: Path) -> Iterator[Path]:
    """A private folder, gone afterwards, without what a killed runner left there; `sockets` in it has a short path."""
    _remove(work)
    work.mkdir(mode=0o700)
    sockets = work / "sockets"
    if len(os.fsencode(sockets.absolute())) < _LONGEST_SOCKET_FOLDER:
        sockets.mkdir(mode=0o700)
    else:
        sockets.symlink_to(tempfile.mkdtemp(prefix="answermill-"))
    try:
        yield work
    finally:
        _remove(work)


def _remove(work: Path) -> None:
    sockets = work / "sockets"
    if sockets.is_symlink():
        shutil.rmtree(sockets.readlink(), ignore_errors=True)
    if work.is_symlink() or work.is_file():
        work.unlink()
    shutil.rmtree(work, ignore_errors=True)
