"""A Pachyderm worker as seen by user code: datum after datum over gRPC, into one process."""

import contextlib
import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.conftest import ROOT


def messages() -> tuple[Any, Any]:
    """NextDatumRequest and NextDatumResponse as protobuf's own library makes them."""
    file = descriptor_pb2.FileDescriptorProto(name="worker.proto", package="pachyderm.worker", syntax="proto3")
    text, once, many = 9, 1, 3
    file.message_type.add(name="NextDatumRequest").field.add(name="error", number=1, type=text, label=once)
    file.message_type.add(name="NextDatumResponse").field.add(name="env", number=1, type=text, label=many)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (
        pool.FindMessageTypeByName(f"pachyderm.worker.{name}") for name in ("NextDatumRequest", "NextDatumResponse")
    )
    request, response = map(message_factory.GetMessageClass, found)
    return request, response


@dataclass
class Worker:
    """Serves NextDatum; each call waits until the test hands out a datum.

    Attributes:
        root: plays /pfs: `questions` and `out` are linked anew for each datum.
        calls: the errors that the process reported, one per call, in order.

    """

    root: Path
    port: int = 0
    calls: "queue.Queue[str]" = field(default_factory=queue.Queue)
    replies: "queue.Queue[list[str] | None]" = field(default_factory=queue.Queue)

    def hand_out(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Links a datum's files and lets the waiting call return. Returns the datum's own output folder."""
        scratch = self.root / ".scratch" / name
        for path, content in files.items():
            target = scratch / "questions" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (scratch / "out").mkdir(parents=True)
        for link in ("questions", "out"):
            (self.root / link).unlink(missing_ok=True)
            (self.root / link).symlink_to(scratch / link)
        self.replies.put([f"PACH_DATUM_ID={name}", "questions=/pfs/questions", 'A_KEY={\n "a": "b=c"\n}'])
        return scratch / "out"

    def take_away(self) -> None:
        """As a worker does when a datum is done."""
        for link in ("questions", "out"):
            (self.root / link).unlink()

    def __post_init__(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)


@contextlib.contextmanager
def worker(root: Path, address: int | str = 0) -> Iterator[Worker]:
    """A worker on a port of this machine, any free one by default, or behind `unix:PATH`."""
    request, response = messages()
    serving = Worker(root)

    def next_datum(message: Any, context: grpc.ServicerContext) -> Any:
        serving.calls.put(message.error)
        entries = serving.replies.get()
        if entries is None:
            context.abort(grpc.StatusCode.CANCELLED, "the set is done")
        return response(env=entries)

    handler = grpc.unary_unary_rpc_method_handler(
        next_datum, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("pachyderm.worker.Worker", {"NextDatum": handler}),)
    )
    serving.port = server.add_insecure_port(address if isinstance(address, str) else f"127.0.0.1:{address}")
    server.start()
    try:
        yield serving
    finally:
        for _ in range(2):
            serving.replies.put(None)
        server.stop(None).wait()


def ended(process: "subprocess.Popen[str]") -> str:
    """What a process that is about to end has written to stderr."""
    _, told = process.communicate(timeout=60)
    return told


@dataclass
class SetResult:
    """How a set of datums went.

    Attributes:
        outputs: of each datum that counts as processed, the files that it wrote.
        starts: how often the process was started.
        log: what all starts wrote to stderr.

    """

    outputs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    starts: int = 0
    log: str = ""


# Python imports this at its start. It acts at the Nth line that the stage runs once it connects to the worker, or,
# `killafter`, at the Nth line after the first datum was handed out.
SABOTAGE = """
import os, sys, threading
way, _, at = os.environ["SABOTAGE"].partition("@")
lines, serving = 0, False
rooms = tuple(os.path.join(os.getcwd(), room) for room in ("stages", "runtime"))

def trace(frame, event, argument):
    global serving
    if not frame.f_code.co_filename.startswith(rooms):
        return None
    serving = serving or frame.f_code.co_name == "_worker"
    return local if serving else None

def local(frame, event, argument):
    global lines
    if event != "line" or (way == "killafter" and "PACH_DATUM_ID" not in os.environ):
        return local
    lines += 1
    if lines == int(at):
        if way == "raise":
            raise MemoryError("sabotage")
        os.kill(os.getpid(), 9)
    return local

if way:
    threading.settrace(trace)
    sys.settrace(trace)
"""
# Lines at which a start breaks: each of the first, then some all through a datum.
BREAKS = (*range(1, 40), *range(40, 1200, 60))
# A first start that ends before it asks is repeated for ever; a test has seen enough of that.
MOST_STARTS = 8
TRIES = 3


def run_set(
    folder: Path, stage: Sequence[str], datums: Mapping[str, bytes], broken: Mapping[int, str] | None = None
) -> SetResult:
    """Serves a set of datums, a CSV each, to a stage, `("answer", "--model", …)`, as 2.12's worker was seen to.

    A first start that ends before it asks is started again. A later one that does makes all further datums count as
    processed, with nothing written. An error, or an end in mid-datum, is a failed try: the process is killed and
    started again. `broken` says at which start what happens where: `{2: "raise@7"}`.
    """
    (folder / "sitecustomize.py").write_text(SABOTAGE)
    served = _Set(folder, stage, dict(datums))
    while served.starts < MOST_STARTS and not served.start((broken or {}).get(served.starts + 1, "")):
        pass
    return SetResult(served.outputs, served.starts, (folder / "log").read_text())


@dataclass
class _Set:
    folder: Path
    stage: Sequence[str]
    waiting: dict[str, bytes]
    outputs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    starts: int = 0
    tries: int = 0
    has_asked: bool = False

    def start(self, sabotage: str) -> bool:
        """Starts the process and serves it until it fails or the set ends. Returns whether the set has ended."""
        self.starts += 1
        # A server for each start: a call that a killed process left behind must not be answered for the next.
        with worker(self.folder / "pfs") as pod, (self.folder / "log").open("a") as log:
            process = self._process(pod, sabotage, log)
            try:
                return self._serve(pod, process)
            finally:
                process.kill()
                process.wait()

    def _serve(self, pod: Worker, process: "subprocess.Popen[bytes]") -> bool:
        if (error := _next_call(pod, process)) is None:
            if self.has_asked:
                self.outputs |= {name: {} for name in self.waiting}
            return self.has_asked
        self.has_asked = True
        if error:
            # The first call broke on its way, so the process cannot know whether a datum was handed out.
            self.tries += 1
            return self.tries == TRIES
        for name in list(self.waiting):
            out = pod.hand_out(f"{name}-{self.starts}", {name: self.waiting[name]})
            if _next_call(pod, process) != "":
                self.tries += 1
                return self.tries == TRIES
            del self.waiting[name]
            self.outputs[name] = {path.name: path.read_bytes() for path in out.iterdir()}
            self.tries = 0
        return True

    def _process(self, pod: Worker, sabotage: str, log: TextIO) -> "subprocess.Popen[bytes]":
        name, *options = self.stage
        command = [sys.executable, "-m", f"stages.{name}", pod.root / "questions", pod.root / "out"]
        return subprocess.Popen(
            [*map(str, command), *options, "--batch-datums"],
            cwd=ROOT,
            env={
                **os.environ,
                "PPS_WORKER_GRPC_PORT": str(pod.port),
                "PYTHONPATH": f"{self.folder}:{ROOT}",
                "SABOTAGE": sabotage,
            },
            stderr=log,
        )


def _next_call(pod: Worker, process: "subprocess.Popen[bytes]") -> str | None:
    """What the process reports when it asks for a datum; None if it ends first."""
    while True:
        try:
            return pod.calls.get(timeout=0.1)
        except queue.Empty:
            if process.poll() is not None and pod.calls.empty():
                return None


@contextlib.contextmanager
def batching(stage: str, pod: Worker, *options: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """The stage, with the worker's port in its environment, as a pipeline's spec starts it."""
    command = [sys.executable, "-m", f"stages.{stage}", str(pod.root / "questions"), str(pod.root / "out")]
    with subprocess.Popen(
        [*command, "--batch-datums", *options],
        cwd=ROOT,
        env={**os.environ, "PPS_WORKER_GRPC_PORT": str(pod.port), **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
