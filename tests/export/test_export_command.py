"""The command line of the export: help, usage, exit codes, and what the libraries raise."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from export import steps
from runtime.errors import ExportError
from tests.conftest import CHECKPOINT, ROOT
from tests.export.test_export import export

# A shell starts what runs in the background with SIGINT ignored, and so everything below it, this test too.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from export.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_help_needs_no_heavy_package() -> None:
    code = """
import sys
import export.__main__ as command
try:
    command.main(["--help"])
except SystemExit:
    sys.exit(", ".join({"numpy", "torch", "onnxruntime", "transformers"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--align-to-words" in done.stdout or "--precision" in done.stdout


def test_sweep_of_fp32_is_a_usage_error() -> None:
    done = export(CHECKPOINT, "--sweep", "--precision", "fp32")
    assert done.returncode == 2
    assert "leave one out" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_the_export_and_remove_its_work(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """SIGTERM gives 143, SIGINT 130, and neither leaves a folder beside the output."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, str(CHECKPOINT), "--output", str(tmp_path / "model")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not any(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in messages
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("error", [np.linalg.LinAlgError("Singular matrix"), RuntimeError("a\nb"), MemoryError()])
def test_a_library_that_raises_in_a_step_ends_in_one_line(error: Exception) -> None:
    with (
        pytest.raises(ExportError, match=r"the step 'quantize' failed: \w+: .*; ") as caught,
        steps.step("quantize"),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_a_logit_that_is_no_number_is_no_small_difference() -> None:
    """A graph that gives NaN anywhere must miss its threshold; Python's max() would pass over it."""
    from export.verify import _difference

    sound, broken = np.zeros(3), np.array([0.0, np.nan, 0.0])
    assert np.isnan(_difference((sound, broken), (sound, sound)))
    assert np.isnan(_difference((broken, sound), (sound, sound)))
