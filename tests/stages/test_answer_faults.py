"""Ends of every kind, and inputs of every size: the output is whole or not there."""

import csv
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.conftest import SAMPLES, Stage
from tests.support.processes import peak, start

MOMENTS = rb'"(listed_at|version)": "[^"]*"'


def tree(folder: Path) -> dict[str, bytes]:
    """What is there for others: not the listing, nor what an interrupted run left, nor the record of a run.

    Two fields of ingest's listing.json are left out, since they differ from run to run: when it was listed, and each
    file's version, which stays empty while the file is so new that it may still change unnoticed.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: re.sub(MOMENTS, b"", path.read_bytes()) if name == "listing.json" else path.read_bytes()
        for name, path in files.items()
        if not re.fullmatch(r"run.*\.json", name) and not any(part.startswith(".") for part in Path(name).parts)
    }


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """More than a minute's work, in rows of many windows, none equal to another."""
    words = [f"word{number}" for number in range(4000)]
    with (tmp_path / "long.csv").open("w") as file:
        file.write("question,context\n")
        for row in range(200):
            file.write(f"Which word is number {row}?,{' '.join(words)} {row}\n")
    return tmp_path / "long.csv"


def test_sigterm_ends_within_a_second_and_leaves_nothing(long: Path, tmp_path: Path, int8_bundle: Path) -> None:
    out = tmp_path / "out"
    with start("stages.answer", long, out, "--model", int8_bundle) as process:
        while not (out.exists() and any(out.glob(".*.listing"))):
            assert process.poll() is None
            time.sleep(0.01)
        # Into the middle of the model's work.
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        # A second, and what a machine that runs other tests meanwhile may add.
        assert time.monotonic() - began < 2
        assert process.stderr and process.stderr.read() == ""
    assert tree(out) == {}


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["ingest", "answer"])
def test_a_killed_and_repeated_run_gives_the_same_output(
    stage: Stage, tmp_path: Path, int8_bundle: Path, name: str
) -> None:
    """Whenever it was killed, the output is that of an undisturbed run."""
    source = tmp_path / "in"
    source.mkdir()
    for sample in ("news", "contracts", "support-tickets"):
        with (SAMPLES / f"{sample}.csv").open(newline="") as file:
            rows = list(islice(csv.reader(file), 9))
        with (source / f"{sample}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    for part in range(15 if name == "ingest" else 0):
        (source / f"long-{part}.csv").write_bytes(b"question,context\n" + b"Who?,Anna did it\n" * 20_000)
    options = ["--model", int8_bundle] if name == "answer" else ["--shard-rows", 500]
    began = time.monotonic()
    assert stage(name, source, tmp_path / "whole", *options).returncode == 0
    took, moments = time.monotonic() - began, random.Random(20)
    whole = tree(tmp_path / "whole")
    killed = 0
    for _ in range(20):
        with start(f"stages.{name}", source, tmp_path / "out", *options) as process:
            time.sleep(moments.uniform(0, took))
            process.kill()
            ended = process.wait()
        killed += ended == -signal.SIGKILL
        for path, content in tree(tmp_path / "out").items() if (tmp_path / "out").exists() else ():
            # What has its final name is whole; the rest is hidden.
            assert whole.get(path) == content
        if ended == 0:
            # The next run would find all done, and end before it is killed.
            shutil.rmtree(tmp_path / "out")
    assert killed > 5
    assert stage(name, source, tmp_path / "out", *options).returncode == 0
    assert tree(tmp_path / "out") == whole


def lines(size: int) -> Iterator[bytes]:
    """About `size` bytes of a CSV whose rows are the same, so that the model answers once."""
    row = b"Who wrote it?," + b"Anna wrote it in 1921. " * 900 + b"\n"
    yield b"question,context\n"
    for _ in range(size // len(row)):
        yield row


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["ingest", "answer"])
def test_a_gigabyte_takes_the_memory_of_ten_megabytes(tmp_path: Path, int8_bundle: Path, name: str) -> None:
    peaks = []
    for label, size in (("small", 10 << 20), ("large", 1 << 30)):
        with (tmp_path / f"{label}.csv").open("wb") as file:
            file.writelines(lines(size))
        options: list[object] = ["--model", int8_bundle] if name == "answer" else ["--shard-rows", 10_000]
        peaks.append(peak(f"stages.{name}", tmp_path / f"{label}.csv", tmp_path / label, *options))
        (tmp_path / f"{label}.csv").unlink()
    assert peaks[1] < 1.1 * peaks[0], peaks
