"""`answer --batch-datums` against a server that plays Pachyderm's worker."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.batching import decode_response, encode_request
from tests.conftest import ROOT, Stage
from tests.support.worker import Worker, _messages, ended, worker

QUESTIONS = b"id,question,context\n007,Who wrote it?,Anna wrote it in 1921.\n"


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Worker]:
    with worker(tmp_path / "pfs") as serving:
        yield serving


@contextlib.contextmanager
def batching(pod: Worker, model: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """The stage, with the worker's port in its environment, as a pipeline's spec starts it."""
    command = [sys.executable, "-m", "stages.answer", pod.root / "questions", pod.root / "out"]
    with subprocess.Popen(
        [*map(str, command), "--model", str(model), "--batch-datums"],
        cwd=ROOT,
        env={**os.environ, "PPS_WORKER_GRPC_PORT": str(pod.port), **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / name).read_text(), newline="")))


def test_many_datums_on_one_load_of_the_model(pod: Worker, int8_bundle: Path) -> None:
    with batching(pod, int8_bundle, http_proxy="http://127.0.0.1:9", grpc_proxy="http://127.0.0.1:9") as process:
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
    with batching(pod, int8_bundle):
        assert pod.calls.get(timeout=60) == ""
        out = pod.hand_out("bad", {"a.csv": b"question\nWho?\n", "b.csv": QUESTIONS})
        assert pod.calls.get(timeout=60).startswith('a.csv: header, column "context": no such column')
        assert not (out / "a.csv").exists()
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
    with batching(pod, int8_bundle) as process:
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
    done = stage("answer", *arguments, PPS_WORKER_GRPC_PORT="9")
    assert done.returncode == 1
    assert done.stderr.startswith("answer: no Pachyderm worker at localhost:9: ")
    assert done.stderr.count("\n") == 1


@given(st.text(max_size=400))
def test_requests_are_those_of_protobuf(error: str) -> None:
    request, _ = _messages()
    if error.isascii() or error.encode("utf-8", "replace").decode() == error:
        assert request.FromString(encode_request(error)).error == error


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300)))
def test_replies_are_those_of_protobuf(entries: list[str]) -> None:
    _, response = _messages()
    assert decode_response(response(env=entries).SerializeToString()) == entries
