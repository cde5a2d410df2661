"""Datum batching: one process asks for datum after datum over gRPC, so that a model is loaded once.

`/pachyderm.worker.Worker/NextDatum` takes `{string error = 1}`, which says how the last datum went, and gives
`{repeated string env = 1}`, the next one's environment. Two fields are coded by hand rather than by a library.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import replace
from typing import Any, NamedTuple

from pachyderm.local.worker.process import ProcessSpec, StoppedError, kill, start, time_slice

_SERVICE, _METHOD = "pachyderm.worker.Worker", "NextDatum"
_FIELD_1_TEXT = 0x0A


class PrematureExitError(Exception):
    """The process ended instead of asking for the next datum."""


class _Call(NamedTuple):
    error: str
    reply: "futures.Future[Sequence[str]]"


class Session:
    """A process that is served datums, one at a time."""

    def __init__(self, command: ProcessSpec) -> None:
        """Starts the process, with the port in its environment. Needs grpcio."""
        import grpc

        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._pending: _Call | None = None
        # A server for each process: a call that a killed process left behind must not be answered for the next.
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._next_datum)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.port = port
        self._process = start(replace(command, environment={**command.environment, "PPS_WORKER_GRPC_PORT": str(port)}))

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
        kill(self._process)
        if self._pending is not None:
            self._pending.reply.cancel()
        while not self._calls.empty():
            self._calls.get().reply.cancel()
        self._server.stop(grace=None).wait()

    def _next_datum(self, request: bytes, context: Any) -> bytes:
        import grpc

        call = _Call("".join(_texts(request)), futures.Future())
        self._calls.put(call)
        try:
            return b"".join(map(_field, call.reply.result()))
        except futures.CancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "the set is done")
            raise


def _field(text: str) -> bytes:
    content = text.encode()
    return bytes([_FIELD_1_TEXT]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _texts(message: bytes) -> Iterator[str]:
    """The texts in field 1 of a message that has no other field."""
    at = 0
    while at < len(message) and message[at] == _FIELD_1_TEXT:
        length = shift = 0
        at += 1
        while True:
            length |= (message[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not message[at - 1] & 0x80:
                break
        yield message[at : at + length].decode(errors="replace")
        at += length
