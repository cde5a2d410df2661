"""The process that serves the datums of a set, started again after a failure."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.worker.batching import BatchingSession, PrematureExitError
from pachyderm.local.worker.process import Launcher, ProcessSpec
from pachyderm.local.worker.redaction import Redaction

_LAST_LINE = 4096


class StartError(PachydermError):
    """A batched process ended before it asked for its first datum, so no datum is to blame."""


# What a real worker does then, after a first start and after a restart (seen on 2.12.2). Here the job fails.
_ON_A_CLUSTER = (
    "would start it again for ever, and no timeout would apply",
    "would take the rest of the set for done, with nothing written",
)


class BatchedProcess:
    """At most one process at a time, for one worker."""

    def __init__(
        self,
        command: Callable[[Path], ProcessSpec],
        launcher: Launcher,
        socket: Path,
        log: Path,
        redaction: Redaction,
    ) -> None:
        """`command` says what to start, given the log that it writes to."""
        self._command = command
        self._launcher = launcher
        self._socket = socket
        self._log = log
        self._redaction = redaction
        self._session: BatchingSession | None = None
        self._starts = 0
        self._shared = 0
        # That all starts together have taken.
        self.start_seconds = 0.0

    def session(self, deadline: float | None, stop: threading.Event) -> BatchingSession:
        """The one that runs, or a new one that has asked for its first datum. Raises StartError if it never does."""
        if self._session is not None:
            return self._session
        began = time.monotonic()
        self._session = BatchingSession(self._command(self._log), self._launcher, self._socket)
        self._starts += 1
        try:
            self._session.next_call(deadline, stop)
        except PrematureExitError as gone:
            line = self._redaction.text(last_line(self._log))
            said = f": {line}" if line else ""
            consequence = _ON_A_CLUSTER[self._starts > 1]
            raise StartError(f"{gone} before it asked for a datum{said}; a cluster {consequence}") from gone
        self.start_seconds += time.monotonic() - began
        return self._session

    def end(self) -> None:
        """Kills the process, if there is one."""
        if self._session is not None:
            self._session.end()
            self._session = None

    def end_set(self) -> None:
        """Kills the process after the last datum of a set, and masks what it said outside of datums."""
        self.end()
        self._starts = 0
        self._redaction.file(self._log)
        self._shared = self._size()

    def share_log(self, log: Path) -> None:
        """Appends what the process has said since the last time to a datum's own log."""
        if (size := self._size()) > self._shared:
            with self._log.open("rb") as file, log.open("ab") as copy:
                file.seek(self._shared)
                copy.write(self._redaction.content(file.read(size - self._shared)))
            self._shared = size

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0


def last_line(log: Path) -> str:
    """The last line that says anything; empty if none does."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE))
            lines = file.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
