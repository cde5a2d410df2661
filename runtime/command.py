"""What every stage's command line shares: options, logs, signals, exit codes."""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import NoReturn

from runtime.errors import AnswermillError

DONE, FAILED, USAGE, TERMINATED = 0, 1, 2, 143
GRACE = 0.7


def parser(name: str, summary: str) -> argparse.ArgumentParser:
    """A parser with the options that all stages have; help shows defaults."""
    command = argparse.ArgumentParser(
        prog=f"python -m stages.{name}",
        description=summary,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Options beat environment variables. Exit codes: 0 done, 1 failed, 2 usage.",
        allow_abbrev=False,
    )
    command.add_argument("--log-format", choices=("text", "json"), default="text", help="how stderr is written")
    command.add_argument("--version", action="version", version=version("answermill"))
    return command


def run(stage: str, work: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Runs a stage's work and turns what is not its fault into one line on stderr and an exit code.

    Returns the exit code: that of `work`, 1 for AnswermillError and OSError, 130 and 143 for SIGINT and SIGTERM.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=f"{stage}: %(message)s", force=True)
    if options.log_format == "json":
        logging.getLogger().handlers[0].setFormatter(_JsonFormatter(stage))
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return work(options)
    except AnswermillError as error:
        logging.error("%s", error)
    except OSError as error:
        logging.error("%s", describe(error))
    except KeyboardInterrupt:
        return 130
    return FAILED


def describe(error: OSError) -> str:
    """`/data/out: No space left on device`, with every file the error names."""
    files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
    return f"{files}: {error.strerror}" if files and error.strerror else str(error)


def summarise(event: str, fields: Mapping[str, object]) -> None:
    """One line with figures: `done files=9 rows=209`, or the same as JSON fields."""
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logging.info("%s %s", event, text, extra={"event": event, "fields": dict(fields)})


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "stage": self._stage,
            "event": getattr(record, "event", record.getMessage()),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    """SIGTERM unwinds the stack, so that temporary files go; the shell's code for it is 128 + 15.

    What does not end by itself, a request that hangs or a window of the model, ends after GRACE seconds.
    """
    last_resort = threading.Timer(GRACE, os._exit, [TERMINATED])
    last_resort.daemon = True
    last_resort.start()
    raise SystemExit(TERMINATED)


def exit_code(failed: Sequence[str], total: int) -> int:
    """1 and a line naming how many files failed, 0 if none did."""
    if not failed:
        return DONE
    logging.error("%d of %d files failed: %s", len(failed), total, ", ".join(failed))
    return FAILED
