"""Two processes in one folder: each step of one may come between two steps of the other."""

import fcntl
import os
from pathlib import Path

import pytest

from runtime.errors import AnswermillError, OptionError
from stages.answering.metrics import exclusive_metrics
from stages.common.files import whole_file
from stages.common.mirror import open_mirror


def test_who_comes_as_another_ends_leaves_its_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other renames what both have opened; the late one emptied it, under its final name."""
    path, flock = tmp_path / "a.csv", fcntl.flock

    def late(file: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        with whole_file(path) as other:
            other.write(b"whole")
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(AnswermillError, match="another run is writing it"), whole_file(path) as file:
        file.write(b"late")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.csv": b"whole"}
    with whole_file(path) as file:
        file.write(b"next")
    assert path.read_bytes() == b"next"


def test_a_lock_that_its_owner_removed_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third run would make a lock of its own, and both would write the metrics."""
    path, flock = tmp_path / "a.prom", fcntl.flock

    def late(file: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        with exclusive_metrics(path):
            pass
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(OptionError, match="another run is writing it"), exclusive_metrics(path):
        pass
    with exclusive_metrics(path):
        pass


def test_a_folder_that_goes_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another share of the run has removed the last file in it, and with it the folder."""
    path, mkdir = tmp_path / "d/e/a.csv", os.mkdir

    def gone(folder: Path, mode: int = 0o777) -> None:
        mkdir(folder, mode)
        if folder == path.parent:
            monkeypatch.setattr(os, "mkdir", mkdir)
            folder.rmdir()

    monkeypatch.setattr(os, "mkdir", gone)
    with whole_file(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_folder_that_is_used_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another share of the run has put a file into it; the run failed for a folder that was not empty."""
    rmdir = os.rmdir

    def used(folder: Path) -> None:
        (folder / "new.csv").write_bytes(b"new")
        rmdir(folder)

    with open_mirror(tmp_path, "answer", "-1-of-2") as mirror:
        mirror.intend(["d/old.csv", "kept.csv"])
        (tmp_path / "d").mkdir()
        (tmp_path / "d/old.csv").write_bytes(b"old")
        monkeypatch.setattr(os, "rmdir", used)
        assert mirror.settle({"kept.csv"}) == ["d/old.csv"]
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["new.csv"]
