"""Loaders and servers that are killed, cut off, filled up and set against each other, while rows are being copied.

A trigger holds a loader in the middle of COPY for as long as the test wants, so that no clock decides what is tested.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from stages.load import target_of
from stages.loading.options import arguments
from stages.loading.schema import prepare
from tests.conftest import ROOT
from tests.support.loading import execute, rows_of, run_load, versions_of, write_version
from tests.support.servers import BINARIES, Server, new_server, running_server
from tests.support.waiting import until

pytestmark = pytest.mark.faults

ROWS = 20_000
GATE = 77


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server(BINARIES[-1]) as server:
        yield server


@pytest.fixture
def folder(server: Server, tmp_path: Path) -> Path:
    """Two files, loaded in their old version and then written in a new one; the table has a gate in it."""
    for name in ("a", "b"):
        write_version(tmp_path / f"in/{name}.csv", "old", ROWS)
    assert run_load(server.url, tmp_path / "in", tmp_path / "out") == 0
    execute(
        server.url,
        f"create function gate() returns trigger language plpgsql as $$ begin "
        f"perform pg_advisory_lock_shared({GATE}); perform pg_advisory_unlock_shared({GATE}); return new; end $$;"
        f"create trigger gate before insert on question_answer for each row "
        f"when (new.row = {ROWS // 2} and new.file = 'a.csv') execute function gate()",
    )
    for name in ("a", "b"):
        write_version(tmp_path / f"in/{name}.csv", "new", ROWS)
    return tmp_path / "in"


OLD = {"a.csv": {"old": ROWS}, "b.csv": {"old": ROWS}}
NEW = {"a.csv": {"new": ROWS}, "b.csv": {"new": ROWS}}


@contextlib.contextmanager
def loader(
    server: Server, source: Path, *options: str, passed: str = "passed", **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """A loader at work. Two at a time take a folder `passed` each, as pods do: one run refuses another's folder."""
    arguments = [sys.executable, "-m", "stages.load", str(source), str(source.parent / passed), *options]
    variables = {**os.environ, **server.environment, **environment}
    with subprocess.Popen(arguments, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: "subprocess.Popen[str]") -> str:
    """Waits for the loader; returns what it said. It must have succeeded."""
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return told


@contextlib.contextmanager
def closed_gate(server: Server) -> Iterator[psycopg.Connection]:
    """Loaders stop in the middle of a.csv until the end of the block, or of the server."""
    connection = psycopg.connect(server.url, autocommit=True)
    try:
        connection.execute(f"select pg_advisory_lock({GATE})".encode())
        yield connection
    finally:
        connection.close()


def waiting(server: Server, kind: str = "advisory", number: int = 1) -> Callable[[], bool]:
    """Whether so many sessions wait for such a lock."""
    query = f"select count(*) from pg_locks where locktype = '{kind}' and not granted"
    return lambda: rows_of(server.url, query) == [(number,)]


def no_loader(server: Server) -> bool:
    return rows_of(server.url, "select 1 from pg_stat_activity where application_name = 'answermill load'") == []


def test_sigkill_at_thirty_random_moments(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_version(source / "a.csv", "version 0", ROWS)
    began = time.monotonic()
    with loader(server, source) as process:
        finish(process)
    usual = time.monotonic() - began
    before, moments = "version 0", np.random.default_rng(6)
    for number in range(1, 31):
        after = f"version {number}"
        write_version(source / "a.csv", after, ROWS)
        with loader(server, source) as process:
            time.sleep(moments.uniform(0.2, 1.1) * usual)
            process.send_signal(signal.SIGKILL)
        until(lambda: no_loader(server))
        found = versions_of(server.url)
        assert found in ({"a.csv": {before: ROWS}}, {"a.csv": {after: ROWS}})
        before = after if found == {"a.csv": {after: ROWS}} else before
    with loader(server, source) as process:
        finish(process)
    assert versions_of(server.url) == {"a.csv": {"version 30": ROWS}}
    assert (tmp_path / "passed/a.csv").read_bytes() == (source / "a.csv").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_loader_killed_while_copying_leaves_the_old_rows(
    server: Server, folder: Path, number: signal.Signals
) -> None:
    with closed_gate(server), loader(server, folder) as process:
        until(waiting(server))
        process.send_signal(number)
        assert process.wait(60) != 0
        assert versions_of(server.url) == OLD
    until(lambda: no_loader(server))
    assert versions_of(server.url) == OLD
    with loader(server, folder) as process:
        finish(process)
    assert versions_of(server.url) == NEW


@pytest.mark.parametrize("fault", ["fast", "immediate", "kill", "terminate"])
def test_a_server_restarted_while_copying_is_waited_for(server: Server, folder: Path, fault: str) -> None:
    with loader(server, folder) as process:
        with closed_gate(server) as connection:
            until(waiting(server))
            assert versions_of(server.url) == OLD
            if fault == "terminate":
                query = (
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'answermill%'"
                )
                connection.execute(query.encode())
            elif fault == "kill":
                server.kill()
            else:
                server.stop(fault)
        assert process.stderr is not None
        assert "trying again" in process.stderr.readline()
        if fault != "terminate":
            server.start()
        finish(process)
    assert versions_of(server.url) == NEW


def test_a_server_that_stays_away_ends_the_run(server: Server, folder: Path) -> None:
    """Running again completes the table."""
    with loader(server, folder, "--retry-for", "0.5") as process:
        with closed_gate(server):
            until(waiting(server))
            server.stop("immediate")
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "(tried for 0.5 s)" in told
    assert "Traceback" not in told
    server.start()
    assert versions_of(server.url) == OLD
    with loader(server, folder) as process:
        finish(process)
    assert versions_of(server.url) == NEW


def test_a_connection_cut_while_copying_is_made_again(server: Server, folder: Path) -> None:
    with cable(server.port) as (port, cut), loader(server, folder, PGPORT=str(port)) as process:
        with closed_gate(server):
            until(waiting(server))
            cut()
            assert process.stderr is not None
            assert "trying again" in process.stderr.readline()
            assert versions_of(server.url) == OLD
        finish(process)
    assert versions_of(server.url) == NEW


@contextlib.contextmanager
def cable(target: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that leads to another one, and what cuts all that goes through it at that moment."""
    ends: list[socket.socket] = []

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", target))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    def cut() -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1], cut
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            cut()
            for end in ends:
                end.close()


def test_two_loaders_of_one_file_take_turns(server: Server, folder: Path, tmp_path: Path) -> None:
    write_version(tmp_path / "other/in/a.csv", "other", ROWS)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(loader(server, folder))]
        with closed_gate(server):
            until(waiting(server))
            processes.append(stack.enter_context(loader(server, tmp_path / "other/in")))
            processes.append(stack.enter_context(loader(server, folder, passed="passed-again")))
            until(waiting(server, number=3))
            assert versions_of(server.url) == OLD
        for process in processes:
            finish(process)
    found = versions_of(server.url)
    # The second and the third came in some order; either way one version is there, once.
    assert found in (NEW, {**NEW, "a.csv": {"other": ROWS}})


def test_loaders_of_different_files_do_not_wait_for_each_other(server: Server, folder: Path) -> None:
    with loader(server, folder / "a.csv") as first:
        with closed_gate(server):
            until(waiting(server))
            with loader(server, folder / "b.csv", passed="passed-b") as second:
                finish(second)
            assert versions_of(server.url) == {"a.csv": {"old": ROWS}, "b.csv": {"new": ROWS}}
        finish(first)
    assert versions_of(server.url) == NEW


def test_loaders_that_all_find_no_table_make_one(server: Server, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        processes = []
        for name in "abcd":
            source = write_version(tmp_path / f"in/{name}.csv", "new", 100)
            processes.append(stack.enter_context(loader(server, source, passed=f"passed-{name}")))
        for process in processes:
            finish(process)
    assert versions_of(server.url) == {f"{name}.csv": {"new": 100} for name in "abcd"}


def test_a_loader_takes_the_table_that_another_made(server: Server, tmp_path: Path) -> None:
    """It waits while the other makes the table."""
    source = write_version(tmp_path / "in/a.csv", "new", 100)
    with psycopg.connect(server.url) as maker:
        maker.execute("select pg_advisory_xact_lock(hashtextextended('answermill table', 0))")
        with loader(server, source) as process:
            until(waiting(server))
            prepare(maker, target_of(arguments([str(source), str(tmp_path)])), migrate=False)
            maker.commit()
            finish(process)
    assert versions_of(server.url) == {"a.csv": {"new": 100}}


def test_the_loser_of_a_deadlock_tries_again(server: Server, folder: Path) -> None:
    key = "hashtextextended('a.csv', 1)"
    with psycopg.connect(server.url) as rival:
        # The rival never gives up first: the loader is the one that PostgreSQL ends.
        rival.execute("set deadlock_timeout = '10min'")
        rival.execute("select 1 from question_answer where file = 'a.csv' and row = 1 for update")
        with loader(server, folder, PGOPTIONS="-c deadlock_timeout=5s") as process:
            until(waiting(server, "transactionid"))
            rival.execute(f"select pg_advisory_xact_lock({key})".encode())
            rival.commit()
            told = finish(process)
    assert "deadlock detected" in told
    assert "trying again" in told
    assert versions_of(server.url) == NEW


def test_a_reader_holds_up_no_loader(server: Server, folder: Path) -> None:
    with psycopg.connect(server.url) as reader:
        reader.execute("set transaction isolation level repeatable read")
        assert reader.execute("select count(*) from question_answer where model = 'old'").fetchone() == (2 * ROWS,)
        with loader(server, folder) as process:
            finish(process)
        assert reader.execute("select count(*) from question_answer where model = 'old'").fetchone() == (2 * ROWS,)
    assert versions_of(server.url) == NEW


def test_a_locked_table_is_waited_for(server: Server, folder: Path) -> None:
    """The wait lasts as long as lock_timeout and retries allow."""
    with psycopg.connect(server.url) as reader:
        reader.execute("lock table question_answer in share mode")
        with loader(server, folder, "--retry-for", "0.5", PGOPTIONS="-c lock_timeout=200") as process:
            _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "canceling statement due to lock timeout" in told
        assert "end the session that holds the lock, or raise lock_timeout" in told
        with loader(server, folder) as process:
            until(waiting(server, "relation"))
            reader.rollback()
            finish(process)
    assert versions_of(server.url) == NEW


def test_a_full_disk_leaves_the_old_rows_and_a_rerun_repairs(tmp_path: Path) -> None:
    with small_disk(megabytes=8) as disk, new_server(BINARIES[-1]) as server:
        server.owned(disk)
        server.configure(default_tablespace="small")
        server.start()
        execute(server.url, f"create tablespace small location '{disk}'")
        write_version(tmp_path / "in/a.csv", "old", 100)
        write_version(tmp_path / "in/b.csv", "old", 100)
        with loader(server, tmp_path / "in") as process:
            finish(process)
        write_version(tmp_path / "in/a.csv", "new", 100_000)
        with loader(server, tmp_path / "in") as process:
            _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "No space left on device" in told
        assert "free space on the server, then run it again" in told
        assert "trying again" not in told
        assert versions_of(server.url) == {"a.csv": {"old": 100}, "b.csv": {"old": 100}}
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        with loader(server, tmp_path / "in") as process:
            finish(process)
        assert versions_of(server.url) == {"a.csv": {"new": 100_000}, "b.csv": {"old": 100}}
        server.stop("immediate")


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """An empty file system that is soon full; a loud skip where none may be mounted."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        disk = Path(name, "disk")
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("NOT TESTED: a full disk, because this account may not mount a small tmpfs")
        try:
            yield disk
        finally:
            subprocess.run(["umount", str(disk)], check=True)
