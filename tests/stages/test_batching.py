"""`answer --batch-datums` against a server that plays Pachyderm's worker."""

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.wrappers_pb2 import StringValue

from tests.conftest import ROOT, Stage
from tests.support.worker import BREAKS, SetResult, Worker, batching, ended, messages, run_set, worker

QUESTIONS = b"id,question,context\n007,Who wrote it?,Anna wrote it in 1921.\n"


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Worker]:
    with worker(tmp_path / "pfs") as serving:
        yield serving


def answers(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / name).read_text(), newline="")))


def test_many_datums_on_one_load_of_the_model(pod: Worker, int8_bundle: Path) -> None:
    with batching(
        "answer", pod, "--model", str(int8_bundle), http_proxy="http://127.0.0.1:9", grpc_proxy="http://127.0.0.1:9"
    ) as process:
        assert pod.calls.get(timeout=60) == ""
        for number in range(5):
            out = pod.hand_out(f"datum-{number}", {f"d/{number}.csv": QUESTIONS})
            assert pod.calls.get(timeout=60) == ""
            (row,) = answers(out, f"d/{number}.csv")
            assert (row["id"], row["answer"]) == ("007", "Anna")
            assert [path.name for path in out.rglob("*") if path.is_file()] == [f"{number}.csv"]
            pod.take_away()
        process.kill()
        told = ended(process)
    assert told.count("answer: done files=1 rows=1 ") == 5


def test_an_error_is_reported_and_the_next_datum_taken(pod: Worker, int8_bundle: Path) -> None:
    with batching("answer", pod, "--model", str(int8_bundle)):
        assert pod.calls.get(timeout=60) == ""
        out = pod.hand_out("bad", {"a.csv": b"question\nWho?\n", "b.csv": QUESTIONS})
        # A CSV that breaks a rule must not fail the datum, and with it hold up the other CSVs for ever.
        assert pod.calls.get(timeout=60) == ""
        assert not (out / "a.csv").exists()
        assert json.loads((out / "rejected/a.csv.json").read_text())["column"] == "context"
        pod.take_away()
        pod.replies.put([])
        assert pod.calls.get(timeout=60) == f"{pod.root}/questions: no such file or folder"
        out = pod.hand_out("good", {"a.csv": QUESTIONS})
        assert pod.calls.get(timeout=60) == ""
        assert answers(out, "a.csv")[0]["answer"] == "Anna"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_killed_while_waiting_it_leaves_what_is_done(
    pod: Worker, int8_bundle: Path, number: signal.Signals, code: int
) -> None:
    with batching("answer", pod, "--model", str(int8_bundle)) as process:
        assert pod.calls.get(timeout=60) == ""
        out = pod.hand_out("one", {"a.csv": QUESTIONS})
        assert pod.calls.get(timeout=60) == ""
        before = (out / "a.csv").read_bytes()
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == code
        assert time.monotonic() - began < 3
        assert "Traceback" not in ended(process)
    assert [path.read_bytes() for path in out.iterdir()] == [before]


def test_without_a_worker_it_says_so(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    arguments = (tmp_path / "in", tmp_path / "out", "--model", int8_bundle, "--batch-datums")
    done = stage("answer", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("answer: no Pachyderm worker at localhost:1080; ")
    assert done.stderr.count("\n") == 1


def test_a_worker_that_listens_late_is_waited_for(tmp_path: Path, int8_bundle: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with batching("answer", Worker(tmp_path / "pfs", port), "--model", str(int8_bundle)) as process:
        assert process.stderr
        assert f"no Pachyderm worker at localhost:{port} yet" in process.stderr.readline()
        with worker(tmp_path / "pfs", port) as pod:
            assert pod.calls.get(timeout=60) == ""


def test_a_worker_behind_a_unix_socket_is_found(tmp_path: Path, int8_bundle: Path) -> None:
    with worker(tmp_path / "pfs", f"unix:{tmp_path}/worker.sock") as pod:
        where = {"ANSWERMILL_WORKER_SOCKET": f"{tmp_path}/worker.sock"}
        with batching("answer", pod, "--model", str(int8_bundle), **where):
            assert pod.calls.get(timeout=60) == ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--threads", "0"], "argument --threads: 0 is less than 1"),
        (["--tracing", "yes"], "unrecognized arguments: --tracing yes"),
        (["--question-column", "context"], "--question-column and --context-column must differ"),
        (["--help"], "143 terminated."),
        (["--model", "/nowhere"], "/nowhere"),
        (["--max-seq-len", "100000"], "max_seq_len is 100000; this model takes at most 512 tokens"),
    ],
)
def test_bad_options_are_reported_not_fatal(pod: Worker, int8_bundle: Path, options: list[str], reason: str) -> None:
    """A process that ends before it asks makes a real worker start it for ever, or lose the set."""
    with batching("answer", pod, "--model", str(int8_bundle), *options) as process:
        for number in range(2):
            error = pod.calls.get(timeout=60)
            assert (reason in error) if number else error == ""
            pod.hand_out(f"datum-{number}", {"a.csv": QUESTIONS})
            pod.calls.queue.clear()
        assert reason in pod.calls.get(timeout=60)
        process.kill()
        assert reason in ended(process)


def test_the_first_datum_is_asked_for_with_almost_nothing(pod: Worker, int8_bundle: Path) -> None:
    """Memory that polars or onnxruntime lack must fail a datum, not the start."""
    command = [sys.executable, "-X", "importtime", "-m", "stages.answer", "in", "out", "--batch-datums"]
    environment = {**os.environ, "PPS_WORKER_GRPC_PORT": str(pod.port)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert pod.calls.get(timeout=60) == ""
        process.kill()
        imported = {line.rpartition("|")[2].strip() for line in ended(process).splitlines()}
    assert "grpc" in imported
    assert not imported & {"polars", "onnxruntime", "tokenizers", "numpy", "psycopg"}


def test_requests_and_replies_are_those_of_the_protocol() -> None:
    """The stage uses two messages of protobuf's own that have the same fields."""
    request, response = messages()
    for text in ("", "x", "é" * 300, "a\nb"):
        assert request.FromString(StringValue(value=text).SerializeToString()).error == text
        entries = [text, "A=b", text]
        assert list(FieldMask.FromString(response(env=entries).SerializeToString()).paths) == entries


SET = {f"{number}.csv": QUESTIONS.replace(b"007", str(number).encode()) for number in range(3)}


def assert_nothing_lost(done: SetResult) -> None:
    """Every datum was processed, and every processed datum has its output."""
    assert list(done.outputs) == list(SET), done.log
    for name, files in done.outputs.items():
        assert list(files) == [name], done.log
        (row,) = csv.DictReader(io.StringIO(files[name].decode(), newline=""))
        assert (row["id"], row["answer"]) == (name.removesuffix(".csv"), "Anna")


def answering(model: Path) -> list[str]:
    return ["answer", "--model", str(model)]


def test_a_set_without_datums_asks_and_is_killed(tmp_path: Path, int8_bundle: Path) -> None:
    done = run_set(tmp_path, answering(int8_bundle), {})
    assert (done.starts, done.outputs) == (1, {})


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("at", [2, 10, 25, 60, 200])
def test_broken_at_any_line_no_datum_is_lost(tmp_path: Path, int8_bundle: Path, start: int, at: int) -> None:
    broken = {1: f"raise@{at}"} if start == 1 else {1: "killafter@30", 2: f"raise@{at}"}
    assert_nothing_lost(run_set(tmp_path, answering(int8_bundle), SET, broken))


@pytest.mark.faults
@pytest.mark.parametrize(
    "broken",
    [
        *({1: f"raise@{at}"} for at in BREAKS),
        *({1: f"kill@{at}"} for at in BREAKS),
        *({1: "killafter@30", 2: f"raise@{at}"} for at in BREAKS),
        *({1: "killafter@30", 2: f"killafter@{at}"} for at in BREAKS),
    ],
    ids=str,
)
def test_broken_or_killed_at_every_line_no_datum_is_lost(
    tmp_path: Path, int8_bundle: Path, broken: dict[int, str]
) -> None:
    """But for a restart that is killed before it asks: there a worker loses the set whatever the process does."""
    assert_nothing_lost(run_set(tmp_path, answering(int8_bundle), SET, broken))
