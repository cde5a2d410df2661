"""What a program does before it imports anything else. Needs nothing that takes time to import."""

import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130


def begin() -> None:
    """Sees to the streams, and lets Ctrl-C end the program quietly while modules are loaded."""
    open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def open_streams() -> None:
    """Makes streams that the caller has closed lead nowhere.

    Python has None in their place, and the first file that is opened would get their number, and with it what a library
    writes to stderr.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 - it lives as long as the process
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _leave(_signal: int, _frame: object) -> NoReturn:
    # Nothing is there yet that must be put away, and a library in C would make an ImportError of an exception.
    os._exit(INTERRUPTED)
