"""The log of every command: a printable line a record on stderr, as text or as JSON. Standard library only."""

import json
import logging
import re
import sys
from collections.abc import Mapping

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def start_logging(name: str, log_format: str = "text", level: int = logging.INFO) -> None:
    """Sends the log to stderr, a line a record, as text or JSON."""
    logging.basicConfig(level=level, stream=sys.stderr, force=True)
    formatter = _JsonFormatter(name) if log_format == "json" else _TextFormatter(f"{name}: %(message)s")
    logging.getLogger().handlers[0].setFormatter(formatter)


def summarise(event: str, fields: Mapping[str, object]) -> None:
    """One line with figures: `done files=9 rows=209`, or the same as JSON fields."""
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logging.info("%s %s", event, text, extra={"event": event, "fields": dict(fields)})


def printable(text: str) -> str:
    r"""The text with control characters, line separators and lone surrogates escaped, as in `a\x1b[31mb\n`.

    Names, headers and server messages come from others; a terminal must not obey them, and they must not add lines to a
    log.
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class _TextFormatter(logging.Formatter):
    """One printable line a record."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "stage": self._name,
            "event": getattr(record, "event", record.getMessage()),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
