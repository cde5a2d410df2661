"""A user process: started below a launcher, waited for, killed with all that came of it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
        pfs: folder to mount as /pfs, or None.

    """

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    stdin: str | None
    log: Path
    pfs: Path | None = None


def start(command: ProcessSpec) -> "subprocess.Popen[bytes]":
    """Starts the process; a command that cannot be executed says so in the log and exits with 1.

    Raises CommandError for a command or a variable that holds a NUL, which no process can be given.
    """
    if any("\0" in word for word in [*command.words, *command.environment.values()]):
        raise CommandError("a word of the command, or a variable, holds a NUL character; remove it from the spec")
    words = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command.words]
    if command.pfs:
        # Outside the launcher: entering a user namespace takes back what it asks of the kernel.
        words = [*own_mounts(), "sh", "-c", _MOUNT, "sh", str(command.pfs), *words]
    # A file takes a text of any length, and nobody has to feed it as a pipe must be fed.
    with command.log.open("ab") as log, tempfile.TemporaryFile() as text:
        text.write((command.stdin or "").encode())
        text.seek(0)
        return subprocess.Popen(
            words,
            env=dict(command.environment),
            cwd=command.folder,
            stdin=text,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def own_mounts() -> list[str]:
    """What to put before a command that is to have mounts of its own.

    Root needs no user namespace for it, and in one could not read what belongs to anybody else.
    """
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def wait(process: "subprocess.Popen[bytes]", deadline: float | None, stop: threading.Event) -> int:
    """The exit code. Raises OverdueError at `deadline` (of time.monotonic) and StoppedError when `stop` is set."""
    while True:
        if stop.is_set():
            raise StoppedError
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(time_slice(deadline))


def time_slice(deadline: float | None) -> float:
    """Seconds to wait before looking round. Raises OverdueError when the deadline has passed."""
    if deadline is None:
        return _SLICE
    left = deadline - time.monotonic()
    if left <= 0:
        raise OverdueError
    return min(left, _SLICE)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Lets the launcher kill all that is left of the process, and takes its exit code."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
