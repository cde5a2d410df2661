"""Nothing waits for ever in silence: locks, servers that say nothing, servers that stop in the middle of COPY."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

import psycopg
import pytest

from stages.loading.waiting import WatchedConnection
from tests.support.loading import execute, rows_of, run_load, versions_of, write_version
from tests.support.processes import start
from tests.support.servers import BINARIES, Server, new_server
from tests.support.waiting import until

# More than the buffers of a socket hold.
ROWS, TEXT = 8_000, "new " * 250
OURS = "select pid from pg_stat_activity where application_name = 'answermill load'"
LIMIT = "select setting::int from pg_settings where name = 'lock_timeout'"
State = Callable[[Server, Path], AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with new_server(BINARIES[-1]) as server:
        server.start()
        yield server


@pytest.fixture
def source(server: Server, tmp_path: Path) -> Path:
    """A file that was loaded, and has changed; COPY takes a millisecond for each row of it."""
    execute(server.url, "drop schema public cascade; create schema public")
    write_version(tmp_path / "in/a.csv", "old", 3)
    assert run_load(server.url, tmp_path / "in", tmp_path / "out") == 0
    write_version(tmp_path / "in/a.csv", TEXT, ROWS)
    execute(
        server.url,
        "create function slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(0.001); return new; end $$;"
        "create trigger slow before insert on question_answer for each row execute function slow()",
    )
    return tmp_path / "in"


@contextlib.contextmanager
def loader(
    server: Server, source: Path, retry_for: float = 1, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator["subprocess.Popen[str]"]:
    variables = {**server.environment, **environment}
    options = ["--retry-for", str(retry_for)]
    with start("stages.load", source, source.parent / "out", *options, **variables) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def locked(server: Server, source: Path, retry_for: float, lock: str, kind: str) -> Iterator["subprocess.Popen[str]"]:
    """Another session holds a lock of this kind, and the loader waits for it."""
    with psycopg.connect(server.url, application_name="the other one") as other:
        other.execute(lock.encode())
        with loader(server, source, retry_for) as process:
            until(lambda: rows_of(server.url, f"select 1 from pg_locks where locktype = '{kind}' and not granted"))
            yield process


def file_locked(
    server: Server, source: Path, retry_for: float = 1
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    """The lock of the file, as another loader of it holds it."""
    lock = "select pg_advisory_xact_lock(hashtextextended('a.csv', 1))"
    return locked(server, source, retry_for, lock, "advisory")


def table_locked(
    server: Server, source: Path, retry_for: float = 1
) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
    lock = "lock table question_answer in access exclusive mode"
    return locked(server, source, retry_for, lock, "relation")


@contextlib.contextmanager
def copy_stopped(server: Server, source: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """The process of the server that takes the rows is stopped in the middle."""
    with loader(server, source, environment=environment) as process:
        until(lambda: rows_of(server.url, "select 1 from pg_stat_progress_copy where tuples_processed > 20"))
        ((backend,),) = rows_of(server.url, f"{OURS} and query like 'copy%'")
        os.kill(int(str(backend)), signal.SIGSTOP)
        try:
            yield process
        finally:
            os.kill(int(str(backend)), signal.SIGCONT)


@contextlib.contextmanager
def copy_stopped_on_a_unix_socket(server: Server, source: Path) -> Iterator["subprocess.Popen[str]"]:
    with copy_stopped(server, source, PGHOST=str(server.folder)) as process:
        yield process


@contextlib.contextmanager
def all_stopped(server: Server, source: Path) -> Iterator["subprocess.Popen[str]"]:
    """The whole server is, as when its machine is suspended."""
    postmaster = int(server.data.joinpath("postmaster.pid").read_text().split()[0])
    with copy_stopped(server, source) as process:
        os.kill(postmaster, signal.SIGSTOP)
        try:
            yield process
        finally:
            os.kill(postmaster, signal.SIGCONT)


@contextlib.contextmanager
def silent_server(server: Server, source: Path) -> Iterator["subprocess.Popen[str]"]:
    """Something accepts connections and says nothing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        loader(server, source, environment={"PGPORT": str(listener.getsockname()[1])}) as process,
        listener.accept()[0],
    ):
        yield process


# For every change one of each kind; all of them every night.
STOPPED = [
    copy_stopped_on_a_unix_socket,
    *(pytest.param(state, marks=pytest.mark.faults) for state in (copy_stopped, all_stopped, silent_server)),
]
STATES = [file_locked, pytest.param(table_locked, marks=pytest.mark.faults), *STOPPED]


@pytest.mark.parametrize("state", [file_locked, table_locked])
def test_a_lock_is_not_waited_for_beyond_the_limit(server: Server, source: Path, state: State) -> None:
    """The message says who holds it."""
    began = time.monotonic()
    with state(server, source) as process:
        _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "waited 1 s for a lock (" in told
    assert "(user postgres, the other one, idle in transaction)" in told
    assert "end the session that holds the lock" in told
    assert time.monotonic() - began < 15
    assert versions_of(server.url) == {"a.csv": {"old": 3}}


@pytest.mark.parametrize("state", STOPPED)
def test_a_server_that_stands_still_ends_the_run(server: Server, source: Path, state: State) -> None:
    """On TCP, where the kernel confirms what the server does not read, and on a Unix socket, which has no timeouts."""
    with state(server, source) as process:
        _, told = process.communicate(timeout=45)
        assert process.returncode == 1
        assert "(tried for 1 s)" in told
        assert ("stopped answering" if state is not silent_server else "timeout expired") in told
    assert versions_of(server.url) == {"a.csv": {"old": 3}}
    until(lambda: rows_of(server.url, OURS) == [])


def test_what_is_waited_for_is_said_and_then_done(server: Server, source: Path) -> None:
    with psycopg.connect(server.url, application_name="the other one") as other:
        other.execute("select pg_advisory_xact_lock(hashtextextended('a.csv', 1))")
        with loader(server, source, retry_for=60) as process:
            assert process.stderr is not None
            told = process.stderr.readline()
            assert "waiting for 5 s now for a lock (advisory) that another session holds: process " in told
            assert "the other one" in told
            execute(server.url, "alter table question_answer disable trigger slow")
            other.rollback()
            _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert versions_of(server.url) == {"a.csv": {TEXT: ROWS}}


def test_a_statement_may_take_longer_than_the_limit(server: Server, source: Path) -> None:
    """A server that is at work is no server that stands still."""
    execute(
        server.url,
        "create function slowly() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(3); return null; end $$;"
        "create trigger slowly after delete on question_answer for each statement execute function slowly();"
        "drop trigger slow on question_answer",
    )
    with loader(server, source) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("state", STATES)
def test_a_signal_ends_every_wait(
    server: Server, source: Path, state: State, number: signal.Signals, code: int
) -> None:
    with state(server, source) as process:
        time.sleep(0.3)
        process.send_signal(number)
        sent = time.monotonic()
        assert process.wait(30) == code
        # Two seconds are promised; a busy machine has some more to start threads in.
        assert time.monotonic() - sent < 4
    until(lambda: rows_of(server.url, OURS) == [])
    assert versions_of(server.url) == {"a.csv": {"old": 3}}


def test_a_loader_killed_while_connecting_leaves_no_key(server: Server, source: Path, tmp_path: Path) -> None:
    """A key that others may read is copied for libpq; the copy goes with the process, however it ends."""
    key, temporary = tmp_path / "client.key", tmp_path / "tmp"
    key.write_text("-----BEGIN PRIVATE KEY-----\nnone\n")
    key.chmod(0o644)
    temporary.mkdir()
    variables = {"PGSSLKEY": str(key), "PGSSLCERT": str(key), "TMPDIR": str(temporary), "PGSSLMODE": "prefer"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        variables["PGPORT"] = str(listener.getsockname()[1])
        with loader(server, source, environment=variables) as process, listener.accept()[0]:
            open_files = Path(f"/proc/{process.pid}/fd")
            assert any("memfd:answermill-secret" in str(file.readlink()) for file in open_files.iterdir())
            process.kill()
            process.wait()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("own", ["0", "999", "1500ms", "2s", "1min", "2h", "1d", "2147483647"])
def test_the_shorter_of_two_limits_for_a_lock_counts(server: Server, own: str) -> None:
    """Ours, which is 3 s where no patience is set, and the server's, in whatever unit it is given."""
    with WatchedConnection.connect(server.url, autocommit=True) as connection:
        connection.execute(f"set lock_timeout = '{own}'".encode())
        ((before,),) = connection.execute(LIMIT).fetchall()
        with connection.bounded_transaction():
            ((within,),) = connection.execute(LIMIT).fetchall()
        assert within == (min(before, 3000) if before else 3000)
        assert connection.execute(LIMIT).fetchall() == [(before,)]


@pytest.mark.parametrize(
    ("own", "within"), [("off", "on"), ("on", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
)
def test_a_commit_waits_for_the_disk(server: Server, own: str, within: str) -> None:
    """A server that crashes right after may lose no rows of a datum that is done. Whatever waits longer stays."""
    with WatchedConnection.connect(server.url, autocommit=True) as connection:
        connection.execute(f"set synchronous_commit = {own}".encode())
        with connection.bounded_transaction():
            assert connection.execute("show synchronous_commit").fetchall() == [(within,)]
        assert connection.execute("show synchronous_commit").fetchall() == [(own,)]
