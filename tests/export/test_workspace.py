"""How a bundle gets its place: whole at any moment, whoever is killed and whoever else exports."""

import errno
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export import workspace
from runtime.errors import ExportError
from tests.conftest import ROOT

# Publishes one small bundle after another until it is killed.
PUBLISHER = """
import sys
from pathlib import Path
from export import workspace
target = Path(sys.argv[1])
if sys.argv[2] == "two renames":
    workspace._exchange = lambda one, other: False
print("ready", flush=True)
while True:
    with workspace.working_folder(target) as work:
        (work / "bundle").mkdir()
        for name in ("model.onnx", "manifest.json"):
            (work / "bundle" / name).write_text("whole")
        workspace.publish(work / "bundle", target)
"""


def bundle(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exchange", [True, False])
def test_a_bundle_takes_the_place_of_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(workspace, "_exchange", lambda *_: False)
    target = bundle(tmp_path / "model", "old")
    with workspace.working_folder(target) as work:
        workspace.publish(bundle(work / "bundle", "new"), target)
    assert (target / "manifest.json").read_text() == "new"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("how", ["exchange", "two renames"])
def test_a_killed_export_loses_no_bundle(tmp_path: Path, how: str) -> None:
    """Killed at eight random moments; the next export finds a whole bundle, and nothing of the killed one is left."""
    draw = random.Random(5)
    target = bundle(tmp_path / "model", "whole")
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(target), how], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.communicate()
        with workspace.working_folder(target):
            assert (target / "manifest.json").read_text() == "whole"
        assert names(tmp_path) == ["model"]


def test_a_bundle_that_a_killed_export_moved_aside_returns(tmp_path: Path) -> None:
    bundle(tmp_path / ".model.export-dead/replaced", "old")
    with workspace.working_folder(tmp_path / "model"):
        assert (tmp_path / "model/manifest.json").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_work_of_others_is_left_alone(tmp_path: Path) -> None:
    """A folder in use, one of another bundle, a file and a link are not a killed export's."""
    target = tmp_path / "model"
    (tmp_path / ".model2.export-abc").mkdir()
    (tmp_path / ".model.export-note").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".model.export-link").symlink_to(tmp_path / "elsewhere")
    with workspace.working_folder(target) as work, workspace.working_folder(target):
        assert work.is_dir()
    assert names(tmp_path) == [".model.export-link", ".model.export-note", ".model2.export-abc", "elsewhere"]


def test_exporters_at_once_all_succeed(tmp_path: Path) -> None:
    """Eight exporters of one bundle, forty times each: none fails, and the bundle is always whole."""
    target = tmp_path / "model"

    def publish(number: int) -> None:
        for _ in range(40):
            with workspace.working_folder(target) as work:
                workspace.publish(bundle(work / "bundle", str(number)), target)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(8)))
    assert names(tmp_path) == ["model"]
    assert (target / "manifest.json").read_text() in "01234567"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write: No space left on device")]
)
def test_a_full_disk_is_named(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(ExportError, match=rf"{tmp_path}: no space left on the device; make room there"),
        workspace.working_folder(tmp_path / "model"),
    ):
        raise error
    assert names(tmp_path) == []
