"""How far a stage is: a bar on a terminal, else a line a minute."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from runtime.logs import summarise

if TYPE_CHECKING:
    from tqdm import tqdm

# Seconds between two lines.
EVERY = 60.0


class Progress:
    """Counts bytes and rows, and says so now and then; use it as a context manager. Safe to share between threads.

    Attributes:
        rows: rows so far.
        errors: those of them that have no answer but an error.

    """

    def __init__(self, total: int, unit: str = "rows", *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows = self.errors = 0
        self._bytes = 0.0
        self._total = total
        self._unit = unit
        self._clock = clock
        self._began = self._said = clock()
        self._lock = threading.Lock()
        self._bar: tqdm[None] | None = None

    def __enter__(self) -> "Progress":
        # Colour and cursor codes are for people; whoever asked for JSON wants lines.
        if sys.stderr.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar}| {desc}, {remaining} left"
            self._bar = tqdm(total=self._total, bar_format=layout, desc=self._rate(), leave=False, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def advance(self, size: float, rows: int = 0, errors: int = 0) -> None:
        """Adds bytes and rows that are done; `size` is negative for bytes that must be fetched again."""
        with self._lock:
            self._bytes += size
            self.rows += rows
            self.errors += errors
            if self._bar is not None:
                self._bar.set_description_str(self._rate(), refresh=False)
                self._bar.update(size)
            elif self._clock() - self._said >= EVERY:
                self._said = self._clock()
                self._say()

    def _rate(self) -> str:
        seconds = self.seconds
        rate = self.rows / seconds if seconds else 0.0
        errors = f", {self.errors / self.rows:.1%} errors" if self.errors else ""
        return f"{self.rows} {self._unit}, {rate:.1f}/s{errors}"

    def _say(self) -> None:
        fraction = min(self._bytes / self._total, 1.0) if self._total else 1.0
        left = self.seconds * (1 - fraction) / fraction if fraction else None
        fields = {
            self._unit: self.rows,
            f"{self._unit}_per_second": round(self.rows / self.seconds, 1),
            **({"percent_errors": round(100 * self.errors / self.rows, 1)} if self.errors else {}),
            "percent": round(100 * fraction, 1),
            "seconds_left": None if left is None else round(left),
        }
        summarise("progress", fields)
