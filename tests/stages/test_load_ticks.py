"""Loads and prunes of several ticks, in every order that Pachyderm permits: the last listing is the table."""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.support.ticks import Cluster

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
