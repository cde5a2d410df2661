"""Loading through a pooler in transaction mode: each transaction has another connection to the server."""

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.loading import rows_of, run_load, versions_of, write_version
from tests.support.pooler import pooler
from tests.support.servers import BINARIES, Server, new_server

Stage = Callable[..., subprocess.CompletedProcess[str]]
# Above the size to which files share a transaction.
LARGE = 1 << 18
STATE = """select pg_backend_pid(), (select count(*) from pg_prepared_statements),
    (select count(*) from pg_locks where locktype = 'advisory'), (select array_agg(name || '=' || setting order by name)
    from pg_settings where source = 'session' and name not in ('application_name', 'client_encoding'))"""


@pytest.fixture(scope="module")
def pooled() -> Iterator[tuple[Server, str]]:
    with new_server(BINARIES[-1]) as server:
        server.start()
        with pooler(server) as port:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            with contextlib.ExitStack() as stack:
                # Three transactions at once need three sessions, which the pooler keeps.
                for _ in range(3):
                    connection = stack.enter_context(psycopg.connect(url, prepare_threshold=None))
                    connection.execute("select 1")
            yield server, url


def state(url: str) -> dict[int, tuple[object, ...]]:
    """What the sessions behind the pooler hold, by their processes."""
    seen: dict[int, tuple[object, ...]] = {}
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(12):
            process, *rest = connection.execute(STATE.encode()).fetchall()[0]
            seen[process] = tuple(rest)
    return seen


def test_hundreds_of_files_load_through_a_pooler(pooled: tuple[Server, str], tmp_path: Path) -> None:
    """Twice, then changed, then pruned. What was set for the loader stays in none of the pooler's sessions."""
    server, url = pooled
    before = state(url)
    assert len(before) > 1, "the pooler gives every transaction the same session, so this would test nothing"
    for number in range(300):
        write_version(tmp_path / f"in/{number}.csv", "one", 2)
    write_version(tmp_path / "in/large.csv", "one", LARGE // 60)
    for _ in range(2):
        assert run_load(url, tmp_path / "in", tmp_path / "out") == 0
    for number in range(150):
        write_version(tmp_path / f"in/{number}.csv", "two", 3)
    assert run_load(url, tmp_path / "in", tmp_path / "out", "--on-bad-row", "skip") == 0
    for number in range(100):
        tmp_path.joinpath(f"in/{number}.csv").unlink()
    assert run_load(url, tmp_path / "in", tmp_path / "out", "--prune") == 0
    expected = {f"{number}.csv": {"two": 3} if number < 150 else {"one": 2} for number in range(100, 300)}
    assert versions_of(server.url) == {**expected, "large.csv": {"one": LARGE // 60}}
    after = state(url)
    assert set(after.values()) == {(0, 0, None)}


def test_a_lock_is_named_through_a_pooler_too(stage: Stage, pooled: tuple[Server, str], tmp_path: Path) -> None:
    """The number of the process that a pooler tells is its own; the server's is asked for in each transaction."""
    server, url = pooled
    write_version(tmp_path / "in/a.csv", "one", 2)
    with psycopg.connect(server.url, application_name="the other one") as other:
        other.execute("select pg_advisory_xact_lock(hashtextextended('a.csv', 1))")
        ran = stage("load", tmp_path / "in", tmp_path / "out", "--retry-for", "1", DATABASE_URL=url)
    assert ran.returncode == 1
    assert re.search(r"waited 1 s for a lock \(advisory\) .* \(user postgres, the other one, idle in", ran.stderr)
    assert rows_of(server.url, "select 1 from pg_locks where locktype = 'advisory'") == []
