"""Loads and prunes of several ticks, in every order that Pachyderm permits: the last listing is the table."""

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.support.loading import run_load, versions_of, write_version
from tests.support.ticks import Cluster
from tests.support.waiting import until

# More by hand: ORDERS=1000 takes some ten minutes.
ORDERS = int(os.environ.get("ORDERS", "40"))


def test_ticks_in_any_permitted_order_end_in_the_last_listing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row that a newer tick has loaded is ever deleted on the way, whatever fails or is repeated."""
    monkeypatch.setenv("DATABASE_URL", database)
    # As in a pod, where a stage keeps no listing of its own.
    monkeypatch.setenv("PACH_DATUM_ID", "0")
    for seed in range(ORDERS):
        folder = tmp_path / str(seed)
        Cluster(folder, f"order_{seed}", random.Random(seed)).run(ticks=4)
        shutil.rmtree(folder)


def test_a_loader_that_waited_takes_the_version_that_is_there(database: str, tmp_path: Path) -> None:
    """It had opened an older one before it waited for another loader of the same file."""
    path = write_version(tmp_path / "in/a.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    path.unlink()
    write_version(path, "waited", 3)
    with psycopg.connect(database) as other, ThreadPoolExecutor(1) as thread:
        other.execute("select pg_advisory_xact_lock(hashtextextended('a.csv', 1))")
        loading = thread.submit(run_load, database, tmp_path / "in", tmp_path / "out")
        query = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        with psycopg.connect(database, autocommit=True) as watcher:
            until(lambda: watcher.execute(query).fetchone() == (1,))
        path.unlink()
        write_version(path, "new", 2)
        other.rollback()
        assert loading.result() == 0
    assert versions_of(database) == {"a.csv": {"new": 2}}
