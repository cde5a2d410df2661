"""A worker's user processes: started by a launcher, waited for, killed with all that came of them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pachyderm.local.worker.launch import NUMBER, send

_LAUNCHER = Path(__file__).with_name("launch.py")
# Where mount namespaces are allowed: the process sees the folder as /pfs, and nobody else does.
_MOUNT = 'mount --bind "$1" /pfs && shift && exec "$@"'
# How soon a stop is noticed.
_SLICE = 0.2
# How long the launcher may take to end what it started.
_PATIENCE = 10.0


class StoppedError(Exception):
    """The runner is to end; nothing is decided about what was running."""


class OverdueError(Exception):
    """The time is over."""


class CommandError(Exception):
    """The command cannot be started at all."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to start.

    Attributes:
        stdin: text, or None for none.
        log: file that stdout and stderr are appended to.

    """

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    stdin: str | None
    log: Path


class Launcher:
    """Starts processes for one worker, one at a time. `end` it at last.

    To be used by one thread: the kernel tells the launcher that the runner has died when the thread that made it has.
    """

    def __init__(self, pfs: Path | None = None) -> None:
        """`pfs` is the folder to mount as /pfs for all of them, or None."""
        self._pfs = pfs
        self._launcher: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._is_busy = False
        self._code: int | None = None

    def start(self, command: ProcessSpec) -> None:
        """Starts the process; a command that cannot be executed says so in the log and exits with 1.

        Raises CommandError for a command or a variable that holds a NUL, which no process can be given.
        """
        if any("\0" in word for word in [*command.words, *command.environment.values()]):
            raise CommandError("a word of the command, or a variable, holds a NUL character; remove it from the spec")
        message = {
            "words": list(map(_as_latin, command.words)),
            "environment": {_as_latin(name): _as_latin(value) for name, value in command.environment.items()},
            "folder": _as_latin(command.folder),
        }
        # A file, because a pipe would have to be fed while the process runs.
        with command.log.open("ab") as log, tempfile.TemporaryFile() as text:
            text.write((command.stdin or "").encode())
            text.seek(0)
            connection = self._connect(log.fileno())
            self._is_busy, self._code = True, None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `poll` says how the launcher ended
                send(connection, message, [text.fileno(), log.fileno()])

    def wait(self, deadline: float | None, stop: threading.Event) -> int:
        """The exit code. Raises OverdueError at `deadline` (of time.monotonic) and StoppedError when `stop` is set."""
        while True:
            if stop.is_set():
                raise StoppedError
            if (code := self.poll(time_slice(deadline))) is not None:
                return code

    def poll(self, seconds: float = 0.0) -> int | None:
        """The exit code, as soon as the process has ended and all that came of it; None if it has not by then."""
        if not self._is_busy or self._connection is None or self._launcher is None:
            return self._code
        self._connection.settimeout(seconds)
        try:
            number = self._connection.recv(NUMBER)
        except (BlockingIOError, TimeoutError):
            return None
        except ConnectionResetError:
            number = b""
        self._is_busy = False
        self._code = int.from_bytes(number, signed=True) if number else self._launcher.wait()
        if not number:
            self._forget()
        return self._code

    def end(self) -> None:
        """Lets the launcher kill all that is left of the process, and end itself."""
        if self._launcher is None:
            return
        self._launcher.terminate()
        try:
            self._launcher.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._launcher.pid, signal.SIGKILL)
            self._launcher.wait()
        if self._is_busy:
            self._is_busy, self._code = False, -signal.SIGKILL
        self._forget()

    def stop(self) -> None:
        """Kills the process, if it still runs."""
        if self._is_busy:
            self.end()

    def _connect(self, log: int) -> socket.socket:
        """The launcher's other end; a launcher that cannot even start says so in the log."""
        if self._connection is not None and self._launcher is not None and self._launcher.poll() is None:
            return self._connection
        self._forget()
        words = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        if self._pfs:
            # Outside the launcher: entering a user namespace takes back what it asks of the kernel.
            words = [*own_mounts(), "sh", "-c", _MOUNT, "sh", str(self._pfs), *words]
        own, other = socket.socketpair()
        with other:
            # Not our own environment, which holds secrets: no command needs the launcher's.
            environment = {"PATH": os.environ.get("PATH", os.defpath)}
            self._launcher = subprocess.Popen(
                words, env=environment, stdin=other.fileno(), stdout=log, stderr=log, start_new_session=True
            )
        self._connection = own
        return own

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._launcher = self._connection = None


def _as_latin(text: str | Path) -> str:
    """The bytes that the text is for the operating system, a character each."""
    return os.fsencode(text).decode("latin-1")


def own_mounts() -> list[str]:
    """The words before a command that needs mounts of its own.

    Root needs no user namespace for it, and in one could not read what belongs to anybody else.
    """
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def time_slice(deadline: float | None) -> float:
    """Seconds to wait before looking round. Raises OverdueError when the deadline has passed."""
    if deadline is None:
        return _SLICE
    left = deadline - time.monotonic()
    if left <= 0:
        raise OverdueError
    return min(left, _SLICE)
