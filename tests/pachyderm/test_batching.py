"""Datum batching over the real protocol, with a client that knows nothing of the runner."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.pachyderm_kit import Bench, spec

# Speaks the protocol as a stage does: asks, takes the environment over, works, says how it went with the next call.
CLIENT = """
import os, sys, time
import grpc

def texts(message):
    at = 0
    while at < len(message):
        at += 1
        length = shift = 0
        while True:
            byte = message[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield message[at:at + length].decode()
        at += length

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])

open(os.environ["STARTS"], "a").write(f"{os.getpid()}\\n")
assert "in" not in os.environ and "PACH_DATUM_ID" not in os.environ
channel = grpc.insecure_channel("localhost:" + os.environ["PPS_WORKER_GRPC_PORT"])
ask = channel.unary_unary("/pachyderm.worker.Worker/NextDatum")
error = ""
while True:
    message = error.encode()
    reply = ask(b"\\x0a" + varint(len(message)) + message if message else b"", wait_for_ready=True)
    os.environ.update(item.split("=", 1) for item in texts(reply))
    error = ""
    text = open(os.environ["in"]).read()
    print("doing", os.path.basename(os.environ["in"]), flush=True)
    folder = os.path.dirname(os.path.dirname(os.environ["in"]))
    open(f"{folder}/out/{os.path.basename(os.environ['in'])}", "w").write(text.upper() + os.environ["LONG"][-3:])
    if text == "report":
        error = "it was said: " + "x" * 300
    if text == "exit":
        sys.exit(0)
    if text == "hang":
        time.sleep(600)
    if text == "once" and not os.path.exists(os.environ["ONCE"]):
        open(os.environ["ONCE"], "w")
        error = "only once"
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def batched(bench: Bench, **fields: Any) -> dict[str, Any]:
    client = bench.folder / "client.py"
    client.write_text(CLIENT)
    environment = {
        "STARTS": str(bench.folder / "starts"),
        "ONCE": str(bench.folder / "once"),
        # A value of several lines, longer than one byte of length can say; a .env file could not hold it.
        "LONG": "{\n" + "y" * 300 + "\n}$",
    }
    transform = {"cmd": ["python", str(client)], "stdin": None, "env": environment, "datumBatching": True}
    return spec("batch", "src", "", transform=transform, **{"datumSetSpec": {"perWorker": 1}, **fields})


def starts(bench: Bench) -> int:
    return len((bench.folder / "starts").read_text().split())


def test_one_process_does_all_datums_of_a_worker(bench: Bench) -> None:
    for name in "abcdef":
        bench.put(name, name)
    assert bench.run(batched(bench))["batch"].counts == {"processed": 6}
    assert bench.files("batch") == {f"/{name}": f"{name.upper()}\n}}$" for name in "abcdef"}
    assert starts(bench) == 1
    assert sorted(bench.log("batch")) == [f"/{name}: doing {name}" for name in "abcdef"]


def test_one_set_per_worker(bench: Bench) -> None:
    for name in "abcdef":
        bench.put(name, name)
    two = batched(bench, parallelismSpec={"constant": 2})
    assert bench.run(two, workers=2)["batch"].counts == {"processed": 6}
    assert starts(bench) == 2


def test_a_reported_error_is_a_failed_try(bench: Bench) -> None:
    """The process starts anew for the next try."""
    for name, text in {"a": "a", "b": "once", "c": "c"}.items():
        bench.put(name, text)
    assert bench.run(batched(bench))["batch"].state == "success"
    results = bench.results("batch")
    assert {path: result.tries for path, result in results.items()} == {"/a": 1, "/b": 2, "/c": 1}
    assert starts(bench) == 2


@pytest.mark.parametrize(
    ("text", "tries", "error"),
    [
        ("report", 2, "it was said: " + "x" * 300 + ": doing b"),
        ("exit", 2, "user code exited prematurely, with 0: doing b"),
        ("hang", 1, "timed out after 5 s: doing b"),
    ],
)
def test_a_datum_that_fails_for_good_leaves_the_others_alone(bench: Bench, text: str, tries: int, error: str) -> None:
    for name, content in {"a": "a", "b": text, "c": "c"}.items():
        bench.put(name, content)
    timeout = "5s" if text == "hang" else "120s"
    job = bench.run(batched(bench, datumTries=tries, datumTimeout=timeout))["batch"]
    assert job.state == "failure"
    assert bench.states("batch") == {"/a": "processed", "/b": "failed", "/c": "processed"}
    result = bench.results("batch")["/b"]
    assert (result.tries, result.error) == (tries, error)
    assert starts(bench) == tries + 1


@pytest.mark.parametrize("files", [{}, {"a": "1", "b": "1"}])
def test_a_first_start_that_dies_fails_the_job(bench: Bench, files: dict[str, str]) -> None:
    """A cluster starts it again and again, for a set without datums too, and no datum ever fails."""
    for name, text in files.items():
        bench.put(name, text)
    silent = batched(bench, datumTries=2)
    silent["transform"]["cmd"] = [sys.executable, "-c", "import sys; sys.exit('no model')"]
    job = bench.run(silent)["batch"]
    assert (job.state, job.counts) == ("failure", {})
    assert job.reason == (
        "user code exited prematurely, with 1 before it asked for a datum: no model; "
        "a cluster would start it again for ever, and no timeout would apply"
    )


def test_a_restart_that_dies_fails_the_job(bench: Bench) -> None:
    """A cluster takes the datum, and all that follow in the set, as processed, and commits nothing of theirs."""
    for name, text in {"a": "a", "b": "exit", "c": "c"}.items():
        bench.put(name, text)
    fragile = batched(bench, datumTries=3)
    script = f"test ! -e {bench.folder}/starts || exit 7; exec {sys.executable} {bench.folder}/client.py"
    fragile["transform"]["cmd"] = ["sh", "-c", script]
    job = bench.run(fragile)["batch"]
    assert job.state == "failure"
    assert job.reason.endswith("a cluster would take the rest of the set for done, with nothing written")
    assert bench.states("batch") == {"/a": "processed"}
    assert bench.files("batch") == {}


def test_an_empty_set_starts_the_process_once(bench: Bench) -> None:
    job = bench.run(batched(bench))["batch"]
    assert (job.state, job.counts, starts(bench)) == ("success", {}, 1)


def test_the_error_command_works_in_batches_too(bench: Bench) -> None:
    bench.put("a", "report")
    bench.put("b", "b")
    recovering = batched(bench, datumTries=1)
    recovering["transform"]["errCmd"] = ["true"]
    assert bench.run(recovering)["batch"].state == "success"
    assert bench.states("batch") == {"/a": "recovered", "/b": "processed"}


def test_a_datum_is_out_of_the_way_before_the_next(bench: Bench) -> None:
    """What a client leaves in /pfs/out is not there for the next datum: the same name would collide."""
    for name in "ab":
        bench.put(name, name)
    bench.run(batched(bench))
    assert {result.outputs.keys() == {path} for path, result in bench.results("batch").items()} == {True}
