"""Pachyderm's datum batching: one process takes datum after datum, so that a model is loaded once for many.

The worker links each datum's files below /pfs and answers `NextDatum`; asking for the next says how this one went. The
messages have one field each, so they are coded here rather than by protobuf (notes/pachyderm.md, section 5).
"""

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

from runtime.command import describe
from runtime.errors import AnswermillError

METHOD = "/pachyderm.worker.Worker/NextDatum"
DEFAULT_PORT = "1080"
# Longest error message that is reported, in code points.
LONGEST = 4000

Next = Callable[[str], dict[str, str]]


def process_datums(next_datum: Next, process: Callable[[], str]) -> NoReturn:
    """Takes datums for ever; the worker kills the process after the last.

    `process` handles what lies in the input folder now, and returns what went wrong, or "". AnswermillError and
    OSError count as such; the worker then decides whether it gives the datum again. Raises AnswermillError if there is
    no worker.
    """
    error = ""
    while True:
        os.environ.update(next_datum(error))
        try:
            error = process()
        except AnswermillError as failure:
            error = str(failure)
        except OSError as failure:
            error = describe(failure)
        error = error[:LONGEST]


def worker() -> Next:
    """Asks this pod's worker, at the port PPS_WORKER_GRPC_PORT, for the next datum and returns its environment."""
    import grpc

    address = f"localhost:{os.environ.get('PPS_WORKER_GRPC_PORT') or DEFAULT_PORT}"
    # A proxy that the environment names must not get between two processes of one pod.
    channel = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)])
    call = channel.unary_unary(METHOD, request_serializer=encode_request, response_deserializer=decode_response)

    def next_datum(error: str) -> dict[str, str]:
        try:
            entries: list[str] = call(error)
        except grpc.RpcError as failure:
            raise AnswermillError(
                f"no Pachyderm worker at {address}: {failure.details()}; "
                "--batch-datums works inside a pipeline with transform.datumBatching, or in `python -m pachyderm run`"
            ) from failure
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    return next_datum


def encode_request(error: str) -> bytes:
    """`NextDatumRequest{string error = 1}` as protobuf bytes."""
    text = error.encode("utf-8", "replace")
    return b"\x0a" + _varint(len(text)) + text if text else b""


def decode_response(message: bytes) -> list[str]:
    """The entries of `NextDatumResponse{repeated string env = 1}`; fields of other numbers are passed over."""
    return [text.decode("utf-8", "replace") for number, text in _fields(message) if number == 1]


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each length-delimited field."""
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        kind = tag & 7
        if kind == 2:
            size, place = _read_varint(message, place)
            yield tag >> 3, message[place : place + size]
            place += size
        elif kind == 0:
            _, place = _read_varint(message, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise AnswermillError(f"NextDatum: a reply with wire type {kind}, which this version does not know")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if place >= len(message):
            raise AnswermillError("NextDatum: a reply that ends too early")
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place += 1
        shift += 7
        if byte < 0x80:
            return number, place
