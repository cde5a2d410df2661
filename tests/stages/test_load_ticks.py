"""Loads and prunes of several ticks, in every order that Pachyderm permits: the last listing is the table."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ticks import Cluster
from tests.support.world import World, made_world

# For the slow test; ORDERS=20000 takes some half an hour.
ORDERS = int(os.environ.get("ORDERS", "3000"))


@pytest.fixture
def world(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A table; the orders share it, and what is the same for each of them is done once."""
    # As in a pod, where a stage keeps no listing of its own.
    monkeypatch.setenv("PACH_DATUM_ID", "0")
    yield from made_world(database, "ordered", monkeypatch)


def run_orders(world: World, folder: Path, seeds: range) -> None:
    for seed in seeds:
        world.clear()
        Cluster(folder / "order", world, random.Random(seed)).run(ticks=3)
        shutil.rmtree(folder / "order")


def test_ticks_in_any_permitted_order_end_in_the_last_listing(world: World, tmp_path: Path) -> None:
    """No row that a newer tick has loaded is ever deleted on the way, whatever fails, is late or is repeated.

    Nor do two loads ever have the same file at once, so that an older version cannot end as the newer one's heir.
    """
    run_orders(world, tmp_path, range(150))


@pytest.mark.slow
def test_ticks_in_thousands_of_permitted_orders(world: World, tmp_path: Path) -> None:
    run_orders(world, tmp_path, range(150, 150 + ORDERS))


def test_three_loads_under_way_can_meet_on_one_file(world: World, tmp_path: Path) -> None:
    """Why `check` warns of more than two workers for `load`: with three, the second job need not have the file.

    The third, whose base the second is, waits for the second alone, and may load the newer version before the first
    has loaded the older one, which then stays.
    """
    world.workers = 3
    with pytest.raises(AssertionError, match=r"load \d and \[\d\] have .* at once"):
        run_orders(world, tmp_path, range(150))
