"""`answer --dask`: a file per task, on workers that are killed and that share no disk."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Stage
from tests.stages.test_answer_faults import tree
from tests.stages.test_answer_mirror import ROWS, run, source, write  # noqa: F401  # a fixture
from tests.support.processes import start

pytest.importorskip("distributed", reason="needs answermill[dask]")


def kill_writer_of(path: Path) -> int:
    """Kills whoever has the file open. Returns its process id, or 0."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink() == path and path.stat().st_size:
                os.kill(int(link.parts[2]), signal.SIGKILL)
                return int(link.parts[2])
    return 0


def test_dask_answers_though_a_worker_is_killed(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:  # noqa: F811
    """Two worker processes, one killed in mid-file: the bytes of one process."""
    write(source / "big.csv", [(f"{question} {copy}", context) for copy in range(15) for question, context in ROWS])
    out = tmp_path / "out"
    with start("stages.answer", source, out, "--model", int8_bundle, "--dask", "local", "--threads", 2) as process:
        killed = 0
        while process.poll() is None and not killed:
            for partial in out.glob(".*.*.partial"):
                killed = killed or kill_writer_of(partial)
            time.sleep(0.01)
        told = process.stderr.read() if process.stderr else ""
        assert process.wait(200) == 0, told
    assert killed
    assert "files=5 " in told
    run(stage, source, tmp_path / "fresh", int8_bundle)
    assert tree(out) == tree(tmp_path / "fresh")
    assert "unchanged_files=5" in run(stage, source, out, int8_bundle)


@pytest.fixture
def scheduler() -> Iterator[str]:
    """The address of a scheduler with a worker, each a process of its own."""
    tool = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*tool, "--no-dashboard"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as one:
        assert one.stderr
        line = next(line for line in one.stderr if "Scheduler at:" in line)
        address = line.split("Scheduler at:")[1].strip()
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        with subprocess.Popen(worker, cwd=ROOT, stderr=subprocess.DEVNULL) as two:
            yield address
            two.kill()
        one.kill()


def test_urls_need_no_shared_disk(
    stage: Stage,
    source: Path,  # noqa: F811
    scheduler: str,
    tmp_path: Path,
    int8_bundle: Path,
) -> None:
    """Workers fetch from one URL and put below another; a CSV that breaks a rule fails alone."""
    write(source / "bad.csv", [])
    (source / "bad.csv").write_text("question,context\none field\n")
    out = tmp_path / "out"
    words = (source.as_uri(), out.as_uri(), "--model", int8_bundle, "--dask", scheduler)
    done = stage("answer", *words)
    assert done.returncode == 1
    assert "bad.csv: row 1: 1 fields where the header has 2" in done.stderr
    assert "1 of 5 files failed: bad.csv" in done.stderr
    (source / "bad.csv").unlink()
    run(stage, source, tmp_path / "fresh", int8_bundle)
    answers = {name: content for name, content in tree(tmp_path / "fresh").items() if name.endswith(".csv")}
    assert tree(out) == answers


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["memory://in", "memory://out"], 2, "URLs for both INPUT and OUTPUT go with --dask"),
        (["memory://in", "out", "--dask", "local"], 2, "URLs for both INPUT and OUTPUT go with --dask"),
        (["{source}", "{out}", "--dask", "nowhere"], 1, "no Dask scheduler at nowhere"),
        (["file://{out}/none", "file://{out}", "--dask", "local"], 1, "it cannot be listed: FileNotFoundError"),
    ],
)
def test_what_dask_cannot_do_is_one_line(
    stage: Stage,
    source: Path,  # noqa: F811
    tmp_path: Path,
    int8_bundle: Path,
    words: list[str],
    code: int,
    said: str,
) -> None:
    places = {"source": source, "out": tmp_path / "out"}
    done = stage("answer", *(word.format(**places) for word in words), "--model", int8_bundle)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
