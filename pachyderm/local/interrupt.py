"""SIGINT and SIGTERM end a run soon, whatever it is doing."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from pachyderm.local.worker.process import StoppedError
from runtime.command import TERMINATED
from runtime.startup import INTERRUPTED

# After this many seconds what does not end by itself, such as a copy of a huge file, is left to the next run.
_GRACE = 1.5


class InterruptedByError(StoppedError):
    """A signal asked the runner to end. Its datums are stopped and nothing is decided about them."""

    def __init__(self, number: int) -> None:
        self.exit_code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        super().__init__("interrupted" if number == signal.SIGINT else "terminated")


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Gives the event that tells workers to stop. The signal is raised as InterruptedByError in this thread.

    Everything the runner writes appears whole or not at all, so it may be left at any point.
    """
    stop = threading.Event()

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        stop.set()
        error = InterruptedByError(number)
        last_resort = threading.Timer(_GRACE, os._exit, [error.exit_code])
        last_resort.daemon = True
        last_resort.start()
        raise error

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
