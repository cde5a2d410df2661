"""A view of a run: on a terminal a line per pipeline, the last one moving; elsewhere a line a minute."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Watch = Callable[[str, int, Mapping[str, int]], None]
_EVERY = 60.0
_TOLD = ("skipped", "recovered", "failed")


@contextmanager
def show_progress() -> Iterator[Watch]:
    """What to call for every datum; draws on stderr."""
    if not sys.stderr.isatty():
        yield _Minutes().log
        return
    bars = _Bars()
    try:
        yield bars.draw
    finally:
        bars.close()


class _Bars:
    """tqdm's bar for each pipeline: datums, rate and time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._name = ""
        self._lock = threading.Lock()

    def draw(self, name: str, total: int, counts: Mapping[str, int]) -> None:
        from tqdm import tqdm

        with self._lock:
            if name != self._name or self._bar is None:
                self.close()
                self._name = name
                # Skipped datums take no time, so they must not count in the rate.
                self._bar = tqdm(total=total, desc=name, unit="datum", initial=sum(counts.values()), file=sys.stderr)
            self._bar.n = sum(counts.values())
            self._bar.set_postfix({state: counts[state] for state in _TOLD if counts.get(state)}, refresh=False)
            self._bar.update(0)
            if self._bar.n >= total:
                self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        self._bar, self._name = None, ""


class _Minutes:
    """A line of the log a minute."""

    def __init__(self) -> None:
        self._name = ""
        self._began = self._last = 0.0
        self._initial = 0
        self._lock = threading.Lock()

    def log(self, name: str, total: int, counts: Mapping[str, int]) -> None:
        with self._lock:
            now = time.monotonic()
            if name != self._name:
                self._name, self._began, self._last, self._initial = name, now, now, sum(counts.values())
            if now - self._last >= _EVERY:
                self._last = now
                logging.info("%s", line(name, total, counts, self._initial, now - self._began))


def line(name: str, total: int, counts: Mapping[str, int], initial: int, seconds: float) -> str:
    """`load 5 of 10 datums, 2 skipped, 1.5 a second, 3 s left`; `initial` were decided before the clock started."""
    decided = sum(counts.values())
    rate = (decided - initial) / seconds if seconds > 0 else 0.0
    others = [f"{counts[state]} {state}" for state in _TOLD if counts.get(state)]
    left = [f"{rate:.1f} a second", f"{(total - decided) / rate:.0f} s left"] if rate else []
    return ", ".join([f"{name} {decided} of {total} datums", *others, *left])
