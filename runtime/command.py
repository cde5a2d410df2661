"""The shell of every command line: options, signals, errors, exit codes. Standard library only."""

import argparse
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from runtime.errors import AnswermillError
from runtime.logs import start_logging
from runtime.os_errors import describe
from runtime.startup import INTERRUPTED, open_streams

DONE, FAILED, USAGE, TERMINATED = 0, 1, 2, 143
EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated."
GRACE = 0.7
# Three weeks. In milliseconds it still fits into 32 bits, which is what PostgreSQL and poll take.
_LONGEST_TIME = 2_000_000


class CommonOptions(Protocol):
    """What `add_common` adds to the options of every command."""

    @property
    def log_format(self) -> str:
        """Of the log on stderr: `text` or `json`."""


Options = TypeVar("Options", bound=CommonOptions)


def parser(
    name: str, summary: str, epilog: str = "Options take precedence over environment variables."
) -> argparse.ArgumentParser:
    """A parser of `answermill NAME` with the options that all commands have; help shows defaults."""
    command = argparse.ArgumentParser(
        prog=f"answermill {name}",
        description=summary,
        formatter_class=_HelpFormatter,
        epilog=f"{epilog} {EXIT_CODES}",
        allow_abbrev=False,
    )
    add_common(command)
    return command


def verbs(program: str, summaries: Mapping[str, str], end: str = "") -> str:
    """The help of a program with verbs: each verb, and what it does."""
    width = max(map(len, summaries))
    lines = [f"  {name.ljust(width)}  {summary}" for name, summary in summaries.items()]
    return "\n".join([f"usage: {program} VERB [options]", "", *lines, "", *([end] if end else [])])


def add_common(command: argparse.ArgumentParser) -> None:
    """Adds `--log-format` and `--version`."""
    command.add_argument("--log-format", choices=("text", "json"), default="text", help="format of the log on stderr")
    command.add_argument("--version", action=_Version, help="show the version and exit")


def version() -> str:
    """The installed version; a tree that is not installed, as `make deploy` runs in, has none."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("answermill")
    except PackageNotFoundError:
        return "not installed"


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults that say something: no "(default: None)", nor one if the help names it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False or action.default in ("", [])
        return action.help if silent or "default: " in (action.help or "") else super()._get_help_string(action)


class _Version(argparse.Action):
    """Prints the version. `action="version"` needs it beforehand, and importlib.metadata takes 30 ms."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.exit(message=f"{version()}\n")


def positive(text: str) -> int:
    """A whole number of at least 1, as the type of an option. Raises ArgumentTypeError."""
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def location(text: str) -> Path:
    """The path of a file or folder, as the type of an option. Raises ArgumentTypeError if there is none.

    An unset variable in a script gives an empty text, which pathlib takes for the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; say . for this folder")
    return Path(text)


def seconds(text: str) -> float:
    """A time of at least 0, as the type of an option. Raises ArgumentTypeError; `nan` and `inf` are no times."""
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from error
    if not 0 <= number <= _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {_LONGEST_TIME} seconds")
    return number


def number(text: str) -> float:
    """A number, as the type of an option. Raises ArgumentTypeError; nothing is above or below `nan`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, as the type of an option. Raises ArgumentTypeError."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def run(name: str, work: Callable[[Options], int], options: Options) -> int:
    """Runs a command's work and turns what is not its fault into one line on stderr and an exit code.

    Returns the exit code: that of `work`, 1 for AnswermillError and OSError, 130 and 143 for SIGINT and SIGTERM.
    """
    open_streams()
    start_logging(name, options.log_format)
    ending = _Ending()
    for number, handler in ((signal.SIGTERM, ending.terminate), (signal.SIGINT, ending.interrupt)):
        # Ignored is what a shell makes of Ctrl-C for a command in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        code = work(options)
        # Not at the exit: a full disk behind stdout would be told by the interpreter, in lines of its own.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read our stdout has gone; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        logging.error("interrupted")
        return INTERRUPTED
    except BaseException as error:
        if ending.code:
            # A library in C that is being imported makes an ImportError of the signal.
            return ending.code
        lines = _failure(error)
        if not lines:
            raise
        for line in lines:
            logging.error("%s", line)
    return FAILED


def _failure(error: BaseException) -> Sequence[str]:
    """The lines for an error that is not the program's fault; none for any other error."""
    if isinstance(error, AnswermillError):
        return error.lines
    if isinstance(error, OSError):
        return [describe(error)]
    if isinstance(error, MemoryError):
        return ["there is not enough memory; raise the limit, or run it where there is more"]
    if type(error).__module__ == "pyo3_runtime":
        # A library in Rust panics with something that is no Exception, and with a message for its authors.
        return [f"a library gave up: {error}; the limit of memory, open files or threads may be too low"]
    return []


class _Ending:
    """What SIGTERM and Ctrl-C do: they unwind the stack, so that temporary files are removed.

    Attributes:
        code: the exit code, once a signal has come; the shell's for SIGTERM is 128 + 15.

    """

    def __init__(self) -> None:
        self.code = 0

    def terminate(self, _signal: int, _frame: object) -> NoReturn:
        self.code = TERMINATED
        _end_soon(TERMINATED)
        raise SystemExit(TERMINATED)

    def interrupt(self, _signal: int, _frame: object) -> NoReturn:
        self.code = INTERRUPTED
        _end_soon(INTERRUPTED)
        raise KeyboardInterrupt


def _end_soon(code: int) -> None:
    """What does not end by itself, a request that hangs or threads at work, ends after GRACE seconds."""
    last_resort = threading.Timer(GRACE, os._exit, [code])
    last_resort.daemon = True
    last_resort.start()


def exit_code(failed: Sequence[str], total: int) -> int:
    """1 and a line naming how many files failed, 0 if none did."""
    if not failed:
        return DONE
    logging.error("%d of %d files failed: %s", len(failed), total, ", ".join(failed))
    return FAILED
