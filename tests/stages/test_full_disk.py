"""A full disk is named, with the place; what was there before stays."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.common.files import whole_file

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root may mount a small file system"),
]
Stage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["ingest", "answer"])
def test_a_full_disk_is_named(stage: Stage, small: Path, tmp_path: Path, int8_bundle: Path, name: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    # Equal rows are answered once.
    source.joinpath("a.csv").write_text("question,context\n" + f"Who came?,Bob came. {'x' * 900}\n" * 500)
    options = ["--model", int8_bundle] if name == "answer" else []
    done = stage(name, source, small / "out", *options)
    assert done.returncode == 1
    assert f"{small}/out" in done.stderr and "stdout" not in done.stderr
    assert "No space left on device; free some space and run again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not small.joinpath("out/a.csv").exists()


def test_a_small_file_on_a_full_disk_is_named(small: Path) -> None:
    """What is in the buffer fails twice: when it is flushed, and once more when the file is closed."""
    small.joinpath("full").write_bytes(b"x" * (64 << 10))
    with pytest.raises(OSError, match="No space left on device") as caught, whole_file(small / "a.csv") as file:
        file.write(b"x")
    assert caught.value.filename == str(small / "a.csv")
    assert [path.name for path in small.iterdir()] == ["full"]
