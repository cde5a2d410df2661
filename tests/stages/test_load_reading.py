"""Files that change, or cannot be read, while they are loaded: the environment's faults are no rejections."""

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from runtime.errors import DatabaseError
from stages.loading import run, small
from stages.loading.table import TableLoader
from tests.conftest import ROOT
from tests.support.loading import execute, rows_of, run_load, versions_of, write_version

# Rows of a file that is read twice.
LARGE = small.SMALL_BYTES // 50


def test_a_file_that_cannot_be_read_fails_alone(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What reads with EIO is named, is not refused, and holds up no other file."""
    write_version(tmp_path / "in/b.csv", "one", 2)
    (tmp_path / "in/a.csv").symlink_to("/proc/self/mem")
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 1
    assert "a.csv: Input/output error; check the disk" in caplog.text
    assert not (tmp_path / "out/rejected").exists()
    assert versions_of(database) == {"b.csv": {"one": 2}}


def test_too_many_open_files_are_no_ones_fault(database: str, tmp_path: Path) -> None:
    for number in range(100):
        write_version(tmp_path / f"in/{number:02d}.csv", "one", 2)
    done = subprocess.run(
        [sys.executable, "-m", "stages.load", tmp_path / "in", tmp_path / "out"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Too many open files; raise the limit" in done.stderr
    assert not (tmp_path / "out/rejected").exists()


@pytest.mark.parametrize("moment", ["examined", "copying"])
@pytest.mark.parametrize("rows", [10, LARGE], ids=["small", "large"])
def test_a_file_written_to_while_it_is_read_is_whole(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, moment: str
) -> None:
    """One half of what was read may be of one version, the other of the next; and nothing is wrong with the next.

    A small file is in memory when it is copied, so it is of the version before then.
    """
    path = write_lines(tmp_path / "in/a.csv", "old", rows)
    times = iter([None])

    def then(function: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object) -> object:
            result = function(*arguments)
            for _ in times:
                # In place: the file that is open is this one.
                write_lines(path, "new", rows)
            return result

        return called

    if moment == "examined":
        monkeypatch.setattr(run, "examine_each", then(small.examine_each))
    else:
        monkeypatch.setattr(TableLoader, "_delete", then(TableLoader._delete))
    version = "old" if (rows, moment) == (10, "copying") else "new"
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 0
    assert versions_of(database) == {"a.csv": {version: rows}}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert rows_of(database, f"select sha256 = '{digest}' from question_answer_file") == [(version == "new",)]


def write_lines(path: Path, text: str, rows: int) -> Path:
    """As `write_version`, with the line ends of the answer stage, which let a small file stay in memory."""
    path.write_bytes(write_version(path.with_suffix(".new"), text, rows).read_bytes().replace(b"\r\n", b"\n"))
    return path


LOCKS = {
    "table": "lock table question_answer in access exclusive mode",
    "file": "select pg_advisory_xact_lock(hashtextextended('a.csv', 1))",
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_that_outlasts_a_statement_refuses_no_file(database: str, tmp_path: Path, lock: str) -> None:
    """The time for a statement is spent waiting for somebody else; it is tried again, then the run has failed."""
    source, target = write_version(tmp_path / "in/a.csv", "old", 2).parent, tmp_path / "out"
    assert run_load(database, source, target) == 0
    write_version(source / "a.csv", "new", 2)
    with psycopg.connect(database) as other:
        other.execute(LOCKS[lock].encode())
        with pytest.raises(DatabaseError, match=r"statement timeout \(tried for 2 s\); raise statement_timeout"):
            run_load(
                database, source, target, "--on-bad-row", "file", retry_for=2, PGOPTIONS="-c statement_timeout=300"
            )
    assert not (target / "rejected").exists()
    assert run_load(database, source, target) == 0
    assert versions_of(database) == {"a.csv": {"new": 2}}


def test_a_statement_that_is_cancelled_refuses_no_file(database: str, tmp_path: Path) -> None:
    """By an administrator, in the middle of COPY; the file is loaded by the next try."""
    source, target = write_version(tmp_path / "in/a.csv", "old", 2).parent, tmp_path / "out"
    assert run_load(database, source, target) == 0
    # A sequence counts the tries: it does not roll back.
    execute(
        database,
        "create sequence tries; create function cancel() returns trigger language plpgsql as "
        "$$ begin if nextval('tries') = 1 then perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(30); "
        "end if; return new; end $$;"
        "create trigger cancel before insert on question_answer for each row execute function cancel()",
    )
    write_version(source / "a.csv", "new", 2)
    assert run_load(database, source, target, "--on-bad-row", "file", retry_for=5) == 0
    assert not (target / "rejected").exists()
    assert versions_of(database) == {"a.csv": {"new": 2}}
