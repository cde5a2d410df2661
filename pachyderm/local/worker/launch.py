"""Runs a worker's command and ends with all that came of it: `python launch.py RUNNER COMMAND…`.

It stays as the command's parent. What the command leaves behind, in a session of its own too, becomes a child of this
process (a "subreaper") and is killed when the command has ended, when SIGTERM asks for it, and when the runner dies.
A program of its own, because code between fork and exec is not safe in a runner with threads; -I -S starts it in 15 ms.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# A process that the kernel does not let go of holds nobody up for longer.
_PATIENCE = 5.0


def main() -> None:
    """Starts the command, waits for it, kills what is left of it, and ends as it did."""
    runner, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _end)
    if sys.platform == "linux" and os.getppid() != runner:  # it died before the signal could be asked for
        sys.exit(1)
    child = os.fork()
    if child == 0:
        _become(command)
    ended, status = os.waitpid(-1, 0)
    while ended != child:
        ended, status = os.waitpid(-1, 0)
    kill_children()
    if os.WIFSIGNALED(status):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _become(command: list[str]) -> None:
    """In the child: a session of its own, the signals of a fresh process, the command."""
    os.setsid()
    for name in (signal.SIGTERM, signal.SIGPIPE):
        signal.signal(name, signal.SIG_DFL)
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the point of it
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="replace"))
    os._exit(1)


def _end(_signal: int, _frame: object) -> None:
    kill_children()
    os._exit(128 + signal.SIGTERM)


def kill_children() -> None:
    """Kills all descendants, those that they start meanwhile too; orphans among them come to this process."""
    deadline = time.monotonic() + _PATIENCE
    while _reap() and time.monotonic() < deadline:
        for process in _descendants():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)


def _reap() -> bool:
    """Takes the exit codes of what has ended; whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _descendants() -> list[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    below = {os.getpid()}
    size = 0
    while size != len(below):
        size = len(below)
        below |= {process for process, parent in parents.items() if parent in below}
    return sorted(below - {os.getpid()})


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
