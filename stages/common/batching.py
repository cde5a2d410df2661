"""Pachyderm's datum batching: one process takes datum after datum, so that a model is loaded once for many.

The worker links each datum's files below /pfs and answers `NextDatum`; asking for the next one says how this one went.
A stage uses it in its `main`, before it looks at its options:

    def main(argv=None):
        argv = sys.argv[1:] if argv is None else argv
        if batching.is_wanted(argv):
            return batching.serve("answer", argv, arguments, prepare)
        return command.run("answer", answer, arguments(argv))

`arguments(argv)` parses the options. `prepare(options)` does what is done once (the model, the connection) and returns
`process`, which handles the datum that lies below /pfs now; it returns what went wrong, already logged, or "".

A process must not end before it has asked for a datum: after a first start the worker starts it again and again, and
after a second one it marks all further datums as processed, with nothing written. So the first datum is asked for with
nothing but grpc and this file, and whatever goes wrong from then on, bad options included, is reported as a datum's.
"""

import contextlib
import io
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from runtime import command
from runtime.errors import AnswermillError
from runtime.logs import printable, start_logging
from runtime.os_errors import describe

OPTION = "--batch-datums"
METHOD = "/pachyderm.worker.Worker/NextDatum"
PORT, SOCKET = "PPS_WORKER_GRPC_PORT", "ANSWERMILL_WORKER_SOCKET"
DEFAULT_PORT = "1080"
# Longest error message that is reported, in code points.
LONGEST = 4000
# Seconds between two tries to ask, and until a process that nobody told of a worker gives up.
PAUSE, PATIENCE = 1.0, 5.0
# Reported if nothing better is known, so that no datum counts as processed that is not.
UNFINISHED = "the datum was not finished"

Ask = Callable[[str], Sequence[str]]
Process = Callable[[], str]


def is_wanted(argv: Sequence[str]) -> bool:
    """Whether --batch-datums is among the options, which are not parsed yet, because they may be wrong."""
    return OPTION in argv


def serve(
    stage: str,
    argv: Sequence[str],
    arguments: Callable[[Sequence[str]], command.Options],
    prepare: Callable[[command.Options], Process],
) -> int:
    """Takes datums without end; the worker kills the process after the last.

    Returns an exit code after a signal, and if the environment names no worker and none listens.
    """
    datums = _Datums(lambda: prepare(_options(stage, argv, arguments)))
    return command.run(stage, _serve, datums)


def _serve(datums: "_Datums") -> NoReturn:
    while True:
        try:
            datums.ask = datums.ask or _worker()
            datums.take(datums.ask)
        except _NoWorkerError:
            raise
        except BaseException as error:
            # Not only Exception: a panic of a library in Rust is none.
            if _is_signal(error):
                raise
            datums.error = _reason(error)
            time.sleep(0 if datums.asked else PAUSE)


class _NoWorkerError(AnswermillError):
    """There is no worker, and nothing says that there should be."""


class _Datums:
    """The conversation with the worker.

    Attributes:
        ask: asks for the next datum, once there is a connection.
        asked: whether the worker may have handed out a datum.
        error: what is reported when the next datum is asked for.
        log_format: of the log until the options are parsed.

    """

    def __init__(self, prepare: Callable[[], Process]) -> None:
        self.ask: Ask | None = None
        self.asked = False
        self.error = ""
        self.log_format = "text"
        self._prepare = prepare
        self._process: Process | None = None

    def take(self, ask: Ask) -> None:
        """Reports the last datum, waits for the next, and processes it."""
        # Nothing has been handed out before the first call, so there is nothing to report either.
        error, self.error = self.error if self.asked else "", UNFINISHED
        reported = printable(error)[:LONGEST]
        # From here on a datum may have been handed out, even if the call fails: better one try too many than one lost.
        self.asked = True
        environment = ask(reported)
        os.environ.update(dict(entry.split("=", 1) for entry in environment if "=" in entry))
        # A preparation that failed is tried again: a disk may have room by now.
        self._process = self._process or self._prepare()
        self.error = self._process()


def _options(stage: str, argv: Sequence[str], arguments: Callable[[Sequence[str]], command.Options]) -> command.Options:
    """The options. Raises AnswermillError with argparse's own message, which otherwise ends the process."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            options = arguments(argv)
    except SystemExit as end:
        if _is_signal(end):
            raise
        lines = output.getvalue().strip().splitlines() or ["the options end the process"]
        raise AnswermillError(lines[-1].removeprefix(f"answermill {stage}: ")) from end
    start_logging(stage, options.log_format)
    return options


def _worker() -> Ask:
    """Connects to this pod's worker; waits for it without end where the environment says where it listens."""
    import grpc
    from google.protobuf.field_mask_pb2 import FieldMask
    from google.protobuf.wrappers_pb2 import StringValue

    address, is_told = _address()
    # A proxy that the environment names must not get between two processes of one pod.
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_reconnect_backoff_ms", round(1000 * PAUSE)),
    ]
    channel = grpc.insecure_channel(address, options)
    ready = grpc.channel_ready_future(channel)
    while True:
        try:
            ready.result(timeout=PATIENCE)
            break
        except grpc.FutureTimeoutError as error:
            message = f"no Pachyderm worker at {address}"
            if not is_told:
                channel.close()
                raise _NoWorkerError(
                    f"{message}; {OPTION} works inside a pipeline with transform.datumBatching, or in `answermill run`"
                ) from error
            logging.warning("%s yet; waiting for it", message)
    # NextDatumRequest{string error = 1} and NextDatumResponse{repeated string env = 1} have these two's wire forms.
    call = channel.unary_unary(
        METHOD,
        request_serializer=lambda error: StringValue(value=error).SerializeToString(),
        response_deserializer=lambda message: FieldMask.FromString(message).paths,
    )

    def ask(error: str) -> Sequence[str]:
        try:
            entries: Sequence[str] = call(error)
        except grpc.RpcError as failure:
            time.sleep(PAUSE)
            raise AnswermillError(f"the connection to the worker at {address} broke: {failure.details()}") from failure
        return entries

    return ask


def _address() -> tuple[str, bool]:
    """Where the worker listens, and whether the environment says so."""
    if socket := os.environ.get(SOCKET):
        return f"unix:{socket}", True
    port = os.environ.get(PORT)
    return f"localhost:{port or DEFAULT_PORT}", bool(port)


def _is_signal(error: BaseException) -> bool:
    """Whether somebody wants the process to end: Ctrl-C, or SIGTERM if a handler raises SystemExit for it."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == command.TERMINATED)


def _reason(error: BaseException) -> str:
    """Logs what went wrong, because the worker does not log what is reported to it. Returns it."""
    if isinstance(error, AnswermillError):
        reason = str(error)
    elif isinstance(error, OSError):
        reason = describe(error)
    elif isinstance(error, MemoryError):
        reason = "out of memory; give the pipeline a higher resourceLimits.memory"
    else:
        reason = f"{type(error).__name__}: {error}"
        logging.error("unexpected", exc_info=error)
    logging.error("%s", reason)
    return reason or UNFINISHED
