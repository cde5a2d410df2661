"""A view of a run on a terminal: one line per pipeline, the last one moving."""

import sys
import threading
import time
from collections.abc import Mapping

from pachyderm.local.jobs import Watch

_WIDTH = 20


def watcher() -> Watch | None:
    """Something that draws on stderr, or None where that is no terminal."""
    return _Line().draw if sys.stderr.isatty() else None


def line(name: str, total: int, counts: Mapping[str, int], seconds: float) -> str:
    """`load [##########..........] 5 of 10, 3 skipped, 1 failed, 12 s`."""
    decided = sum(counts.values())
    filled = _WIDTH * decided // total if total else _WIDTH
    others = [f"{counts[state]} {state}" for state in ("skipped", "recovered", "failed") if counts.get(state)]
    return ", ".join([f"{name} [{'#' * filled:.<{_WIDTH}}] {decided} of {total}", *others, f"{seconds:.0f} s"])


class _Line:
    def __init__(self) -> None:
        self._name = ""
        self._began = 0.0
        self._lock = threading.Lock()

    def draw(self, name: str, total: int, counts: Mapping[str, int]) -> None:
        with self._lock:
            if name != self._name:
                self._name, self._began = name, time.monotonic()
            text = line(name, total, counts, time.monotonic() - self._began)
            end = "\n" if sum(counts.values()) >= total else ""
            sys.stderr.write(f"\r\x1b[K{text}{end}")
            sys.stderr.flush()
