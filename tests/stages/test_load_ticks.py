"""Loads and prunes of several ticks, in every order that Pachyderm permits: the last listing is the table."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from io import BufferedReader, BytesIO
from pathlib import Path

import pytest

from runtime.errors import DatabaseError
from stages.common.names import Origin
from stages.loading.copying import AnsweredCsv
from stages.loading.files import check_latest
from stages.loading.memory import Entry
from tests.support.ticks import Cluster
from tests.support.world import World, made_world

# For the slow test; ORDERS=20000 takes some half an hour of an idle core, and 3,000 took 20 minutes of a busy one.
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
@pytest.mark.timeout(7200)
def test_ticks_in_thousands_of_permitted_orders(world: World, tmp_path: Path) -> None:
    run_orders(world, tmp_path, range(150, 150 + ORDERS))


BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER, EARLIER = BEGAN + timedelta(seconds=1), BEGAN - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("first_row", "sha256", "loaded_at", "stands"),
    [
        (4, "other", LATER, True),
        (4, "other", EARLIER, False),
        # What a killed try has loaded.
        (4, "own", LATER, False),
        # Parts of another size: they lie in its place, or beside it.
        (3, "other", LATER, True),
        (5, "other", LATER, True),
        (2, "other", LATER, False),
        (7, "other", LATER, False),
        # What another part of the same tick has left of an old one.
        (3, "", LATER, False),
        # And what it has left of the datum's own newer version.
        (4, "", LATER, True),
        (4, "", EARLIER, False),
    ],
)
def test_newer_rows_in_a_datums_place_stand(first_row: int, sha256: str, loaded_at: datetime, stands: bool) -> None:
    """A part of rows 4 to 6, whose load stood still, meets an entry of two rows."""
    csv = AnsweredCsv("a.csv.parts/row-4.csv", Origin("a.csv", 4), BufferedReader(BytesIO()), BEGAN, 9, "own", 3)
    entry = Entry(Origin("a.csv", first_row), "other.csv", sha256, 9, 2, "", loaded_at)
    with pytest.raises(DatabaseError, match="if this one is the newer, load it again") if stands else nullcontext():
        check_latest([csv], {"a.csv": [entry]})
    # In a plain run the path says what is current.
    csv.opened_at = None
    check_latest([csv], {"a.csv": [entry]})


def test_three_loads_under_way_can_meet_on_one_file(world: World, tmp_path: Path) -> None:
    """Why `check` warns of more than two workers for `load`: with three, the second job need not have the file.

    The third, whose base the second is, waits for the second alone, and may load the newer version before the first
    has loaded the older one, which then stays.
    """
    world.workers = 3
    with pytest.raises(AssertionError, match=r"load \d and \[\d\] have .* at once"):
        run_orders(world, tmp_path, range(150))
