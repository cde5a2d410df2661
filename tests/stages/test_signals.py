"""Ctrl-C and SIGTERM end a stage soon, whatever it is at."""

import signal
import time
from pathlib import Path

import pytest

from tests.support.processes import start

FILES = 4_000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_ingest_of_a_large_folder(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The next run completes what was left."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in range(FILES):
        source.joinpath(f"{name}.csv").write_text(f"question,context\nWho?,Number {name}.\n")
    with start("stages.ingest", source, target) as process:
        deadline = time.monotonic() + 60
        while not any(target.glob("*.csv*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        sent = time.monotonic()
        assert process.wait(30) == code
        # Two seconds are promised; a busy machine has some more.
        assert time.monotonic() - sent < 4
    assert not target.joinpath("listing.json").exists()
