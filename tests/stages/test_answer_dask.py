"""`answer --dask`: a file per task, on workers that are killed and that share no disk."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from runtime.errors import AnswermillError
from stages.answer import load_job
from stages.answering import spread as spread_module
from stages.answering.options import arguments
from stages.answering.remote import Remote, RemoteFile, answer_remote, remote_files
from stages.answering.rows import Counts
from stages.answering.spread import DaskSpread
from stages.common.progress import Progress
from tests.conftest import ROOT, Stage
from tests.stages.test_answer_faults import tree
from tests.stages.test_answer_mirror import ROWS, run, source, write  # noqa: F401  # a fixture
from tests.support.bucket import BUCKET, bucket
from tests.support.processes import start
from tests.support.waiting import until

pytest.importorskip("distributed", reason="needs answermill[dask]")

SECRET = "hunter2-and-a-signature"  # noqa: S105


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


def test_ctrl_c_while_workers_start_is_quiet(source: Path, tmp_path: Path, int8_bundle: Path) -> None:  # noqa: F811
    """It reaches the workers too: each wrote a traceback, and so did Dask about the half of a cluster."""
    words = [source, tmp_path / "out", "--model", int8_bundle, "--dask", "local", "--threads", 2]
    command = [sys.executable, "-m", "stages.answer", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        children = Path(f"/proc/{process.pid}/task")
        while process.poll() is None and not any(each.read_text() for each in children.glob("*/children")):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        told = process.stderr.read() if process.stderr else ""
    assert (process.returncode, told) == (130, "answer: interrupted\n")


@pytest.fixture
def scheduler() -> Iterator[str]:
    with dask() as (address, _):
        yield address


@contextlib.contextmanager
def dask() -> Iterator[tuple[str, list["subprocess.Popen[str]"]]]:
    """The address of a scheduler with a worker, each a process of its own."""
    tool = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*tool, "--no-dashboard"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as one:
        assert one.stderr
        line = next(line for line in one.stderr if "Scheduler at:" in line)
        address = line.split("Scheduler at:")[1].strip()
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        with subprocess.Popen(worker, cwd=ROOT, stderr=subprocess.DEVNULL, text=True) as two:
            yield address, [one, two]
            two.kill()
        one.kill()


def test_a_link_to_nothing_fails_alone(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:  # noqa: F811
    """A worker cannot read it, at any try; the other files are answered."""
    (source / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    words = (source, tmp_path / "out", "--model", int8_bundle, "--dask", "local", "--threads", 1)
    done = stage("answer", *words)
    assert done.returncode == 1
    assert "gone.csv" in done.stderr
    assert "1 of 5 files failed: gone.csv" in done.stderr
    (source / "gone.csv").unlink()
    run(stage, source, tmp_path / "fresh", int8_bundle)
    assert "unchanged_files=4" in run(stage, source, tmp_path / "out", int8_bundle)


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


def test_paths_are_the_clients(
    source: Path,  # noqa: F811
    scheduler: str,
    int8_bundle: Path,
    tmp_path: Path,
) -> None:
    """A worker stands in another folder, where it found no file, or other ones, under a relative path."""
    (tmp_path / "model").symlink_to(int8_bundle)
    words = [sys.executable, "-m", "answermill", "answer", source.name, "out", "--model", "model", "--dask", scheduler]
    path = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("out/d/*.csv"))) == 4


def test_a_worker_that_would_answer_otherwise_is_refused(
    scheduler: str, int8_bundle: Path, fp32_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another bundle under the path, its answers would be noted as the client's bundle's; with another version,
    nobody knows."""
    from distributed import Client

    options = arguments([str(tmp_path), str(tmp_path / "out"), "--model", str(int8_bundle), "--dask", scheduler])
    job = load_job(options)

    with Client(scheduler) as client:
        client.wait_for_workers(1)

    def refusal(model: Path) -> str:
        spread = DaskSpread(scheduler, load_job, replace(options, model=model))
        with pytest.raises(AnswermillError) as caught:
            spread.run(iter(()), job, Counts(), Progress(0), print)
        return str(caught.value)

    place = f"{scheduler}: worker tcp://127.0.0.1:"
    assert refusal(fp32_bundle).startswith(place)
    assert "its bundle is minilm-qa-fp32" in refusal(fp32_bundle)
    assert refusal(tmp_path / "none").startswith(place)
    assert refusal(tmp_path / "none").endswith("; every worker needs the client's own")
    monkeypatch.setattr(spread_module, "version", lambda: "0.0.1")
    assert "its answermill is" in refusal(int8_bundle)
    assert "and the client's is 0.0.1, so answers would differ" in refusal(int8_bundle)


def test_a_scheduler_that_dies_is_told_in_one_line(
    source: Path,  # noqa: F811
    int8_bundle: Path,
    tmp_path: Path,
) -> None:
    """And what it leaves is gone on with."""
    write(source / "a.csv", [(f"{question} {copy}", context) for copy in range(80) for question, context in ROWS])
    out = tmp_path / "out"
    with contextlib.ExitStack() as stack:
        address, processes = stack.enter_context(dask())
        words = (source, out, "--model", int8_bundle, "--dask", address)
        environment = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
        process = stack.enter_context(start("stages.answer", *words, **environment))
        until(lambda: bool(list(out.glob(".*.partial"))))
        processes[0].kill()
        told = process.stderr.read() if process.stderr else ""
        assert process.wait(100) == 1
        assert f"{address}: the Dask scheduler was lost; start it, and run again" in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["memory://in", "memory://out"], 2, "URLs for both INPUT and OUTPUT go with --dask"),
        (["memory://in", "out", "--dask", "local"], 2, "URLs for both INPUT and OUTPUT go with --dask"),
        (["{source}", "{out}", "--dask", "nowhere"], 1, "no Dask scheduler at nowhere"),
        (["file://{out}/none", "file://{out}", "--dask", "local"], 1, "No such file or directory"),
        (["nope://a", "nope://b", "--dask", "local"], 1, "nope://a: Protocol not known: nope; check the URL"),
        (["file://{source}", "file://{source}/answers", "--dask", "local"], 1, "lies in INPUT"),
        (["memory://a", "memory://a/b", "--dask", "local"], 1, "OUTPUT (memory://a/b) lies in INPUT (memory://a)"),
        (["memory://a", "memory://b", "--dask", "local", "--dry-run"], 2, "--dry-run goes with folders"),
        (["memory://a", "memory://b", "--dask", "local", "--part", "1/2"], 2, "--part goes with folders"),
        (["memory://a", "memory://b", "--dask", "local", "--metrics", "m"], 2, "--metrics goes with folders"),
        (["memory://a", "memory://b", "--dask", "local", "--reuse", "r"], 2, "--reuse goes with folders"),
        (["-", "-", "--dask", "local"], 2, "--dask takes files"),
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


def test_names_with_two_slashes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bucket `a//b.csv` and `a/b.csv` are two objects; on a disk their answers would be one file."""
    with bucket() as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        proxy.put("in/a/b.csv", b"question,context\n")
        assert [file.name for file in remote_files(f"gs://{BUCKET}/in", "memory://answers", str)] == ["a/b.csv"]
        proxy.put("in/a//b.csv", b"question,context\n")
        with pytest.raises(AnswermillError, match=r"a//b\.csv: a name with two slashes in a row; rename it"):
            remote_files(f"gs://{BUCKET}/in", "memory://answers", str)


class Leaky(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A protocol whose errors quote what they were given, as many do."""

    def get_file(self, path: str, *_: object, **__: object) -> None:
        raise RuntimeError(f"GET {path}?sig={SECRET} with {self.storage_options}")

    def put_file(self, lpath: str, rpath: str, *_: object, **__: object) -> None:
        raise RuntimeError(f"PUT {lpath} to {rpath}?sig={SECRET} with {self.storage_options}")


@pytest.mark.parametrize(
    ("reads", "writes", "step"), [(Leaky, LocalFileSystem, "fetched"), (LocalFileSystem, Leaky, "written")]
)
def test_a_workers_error_holds_no_secret(
    tmp_path: Path, int8_bundle: Path, reads: type[LocalFileSystem], writes: type[LocalFileSystem], step: str
) -> None:
    """Neither the error nor the file's own text, which Dask puts into its logs, quotes a signature or a password."""
    write(tmp_path / "a.csv", ROWS[:1])
    file = RemoteFile(
        "a.csv",
        Remote(reads(password=SECRET), str(tmp_path / "a.csv")),
        Remote(writes(password=SECRET), str(tmp_path / "out" / "a.csv")),
        1,
    )
    assert SECRET not in repr(file)
    assert SECRET not in repr(Remote(reads(), f"https://host/a.csv?sig={SECRET}"))
    job = load_job(arguments([str(tmp_path), str(tmp_path / "out"), "--model", str(int8_bundle)]))
    with pytest.raises(OSError, match=f"^RuntimeError while the file was {step}$") as caught:
        answer_remote(file, job)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("protocol", ["tcp://", "tls://"])
def test_a_stranger_cannot_use_the_local_cluster(protocol: str) -> None:
    """Whoever may speak to a scheduler runs code as its user: on a machine that others use, it must ask for a key."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, protocol], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["kept", "out"], done.stderr


STRANGER = """
import sys
from distributed import Client
from stages.answering.options import arguments
from stages.answering.spread import DaskSpread

if __name__ == "__main__":
    spread = DaskSpread("local", None, arguments(["in", "out", "--threads", "1"]))
    with spread._client() as ours:
        address = ours.scheduler.address.replace("tls://", sys.argv[1])
        try:
            Client(address, timeout="3s").submit(print, "in").result(timeout=10)
        except Exception as error:
            print("kept out")
"""
