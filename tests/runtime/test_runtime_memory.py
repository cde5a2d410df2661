"""Memory is bounded by the rows in flight, not by the rows of the input."""

import subprocess
import sys
from pathlib import Path

import pytest

from export.checkpoint import find
from export.evaluation import Row
from export.pipeline import export
from export.request import ExportRequest
from export.thresholds import Thresholds
from tests.support.families import write_checkpoint

# A fresh process each time, since a peak never falls.
PEAK = """
import sys
from pathlib import Path
from runtime import Answerer

rows = ((f"Who is number {n}?", f"Number {n} is Ada, and {n + 1} is Bob.") for n in range(int(sys.argv[2])))
assert sum(answer.error is None for answer in Answerer.load(sys.argv[1]).answer(rows)) == int(sys.argv[2])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
"""


def peak(bundle: Path, rows: int) -> int:
    """KiB at most resident over so many rows, all different."""
    done = subprocess.run([sys.executable, "-c", PEAK, bundle, str(rows)], capture_output=True, text=True, check=True)
    return int(done.stdout)


# A quarter of an hour: some 0.8 ms a row, most of it Python.
@pytest.mark.timeout(3600)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_million_rows_take_the_memory_of_ten_thousand(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("distilbert", tmp_path / "checkpoint")
    request = ExportRequest(None, [Row("Who?", "Ada is here.", ())], Thresholds())
    export(find(str(checkpoint), None), tmp_path / "model", request)
    few, many = peak(tmp_path / "model", 10_000), peak(tmp_path / "model", 1_000_000)
    assert many < 1.1 * few
