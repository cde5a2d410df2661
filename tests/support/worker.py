"""A Pachyderm worker as seen by user code: datum after datum over gRPC, into one process."""

import contextlib
import queue
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def _messages() -> tuple[Any, Any]:
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
def worker(root: Path) -> Iterator[Worker]:
    """A worker on a free port of this machine."""
    request, response = _messages()
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
    serving.port = server.add_insecure_port("127.0.0.1:0")
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
