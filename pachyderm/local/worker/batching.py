"""Datum batching: one process asks for datum after datum over gRPC, so that a model is loaded once.

`/pachyderm.worker.Worker/NextDatum` takes `{string error = 1}`, which says how the last datum went, and gives
`{repeated string env = 1}`, the next one's environment: the wire forms of protobuf's own StringValue and FieldMask.

Whoever may call it can end a datum and is given its environment, secrets included. It is served on a Unix socket in a
folder that only this user may enter, and, for code that knows Pachyderm's port alone, over TCP to processes of this
user: the kernel's table of connections says whose they are, and where there is no such table there is no port.
"""

import os
import queue
import threading
from collections.abc import Sequence
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pachyderm.local.worker.process import Launcher, ProcessSpec, StoppedError, time_slice

_SERVICE, _METHOD = "pachyderm.worker.Worker", "NextDatum"
PORT_VARIABLE, SOCKET_VARIABLE = "PPS_WORKER_GRPC_PORT", "ANSWERMILL_WORKER_SOCKET"
# gRPC speaks IPv4 through sockets of both kinds.
_CONNECTIONS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"


class PrematureExitError(Exception):
    """The process ended instead of asking for the next datum."""


class _Call(NamedTuple):
    error: str
    reply: "futures.Future[Sequence[str]]"


class BatchingSession:
    """A process that is served datums, one at a time."""

    def __init__(self, command: ProcessSpec, launcher: Launcher, socket: Path) -> None:
        """Starts the process, with the address in its environment. Needs grpcio and protobuf."""
        import grpc
        from google.protobuf.field_mask_pb2 import FieldMask
        from google.protobuf.wrappers_pb2 import StringValue

        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._pending: _Call | None = None
        self._caller = threading.Lock()
        self._socket = socket
        # A server for each process: a call that a killed process left behind must not be answered for the next.
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(
            self._next_datum, StringValue.FromString, FieldMask.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),))
        socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix:{socket}")
        self._port = self._server.add_insecure_port("127.0.0.1:0") if _CONNECTIONS[0].exists() else 0
        self.address = {SOCKET_VARIABLE: str(socket)} | ({PORT_VARIABLE: str(self._port)} if self._port else {})
        self._server.start()
        self._process = launcher
        self._process.start(replace(command, environment={**command.environment, **self.address}))

    def next_call(self, deadline: float | None, stop: threading.Event) -> str:
        """Waits until the process asks for a datum; returns what it says of the last one, "" if that went well.

        Raises PrematureExitError, OverdueError at `deadline`, StoppedError.
        """
        while True:
            if stop.is_set():
                raise StoppedError
            try:
                self._pending = self._calls.get(timeout=time_slice(deadline))
            except queue.Empty:
                if (code := self._process.poll()) is not None and self._calls.empty():
                    raise PrematureExitError(f"user code exited prematurely, with {code}") from None
                continue
            return self._pending.error

    def hand_out(self, environment: Sequence[str]) -> None:
        """Answers the call that waits."""
        if self._pending is not None:
            self._pending.reply.set_result(environment)
            self._pending = None

    def end(self) -> None:
        """Kills the process, as a worker does at the end of a set."""
        self._process.end()
        if self._pending is not None:
            self._pending.reply.cancel()
        while not self._calls.empty():
            self._calls.get().reply.cancel()
        self._server.stop(grace=None).wait()
        self._socket.unlink(missing_ok=True)

    def _next_datum(self, request: Any, context: Any) -> Any:
        import grpc
        from google.protobuf.field_mask_pb2 import FieldMask

        if not is_own_caller(context.peer(), self._port):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "this worker serves its own user code")
        if not self._caller.acquire(blocking=False):
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "another process is being served")
        try:
            call = _Call(request.value, futures.Future())
            self._calls.put(call)
            return FieldMask(paths=[text.encode("utf-8", "replace").decode() for text in call.reply.result()])
        except futures.CancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "the set is done")
            raise
        finally:
            self._caller.release()


def is_own_caller(peer: str, port: int, tables: Sequence[Path] = _CONNECTIONS) -> bool:
    """Whether a gRPC peer, `unix:` or `ipv4:127.0.0.1:45678`, is a process of this user's."""
    if peer.startswith("unix:"):
        return True
    own = peer.rpartition(":")[2]
    if not own.isdigit():
        return False
    ends = (f"{int(own):04X}", f"{port:04X}")
    for line in (line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]):
        _, local, remote, state, *_, uid = line.split()[:8]
        if (local.rpartition(":")[2], remote.rpartition(":")[2], state) == (*ends, _ESTABLISHED):
            return int(uid) == os.geteuid()
    return False
