"""Runs a worker's commands, one after the other, and kills all that came of each: `python launch.py RUNNER`.

Its stdin is a socket: the runner sends what to start, with the files for stdin and output, and is told how it ended.
The launcher stays as the commands' parent. What a command leaves behind, in a session of its own too, becomes a child
of this process (a "subreaper") and is killed when the command has ended, when SIGTERM asks for it, and when the runner
dies. A program of its own, because code between fork and exec is not safe in a runner with threads; one for many
commands, because Python's start (-I -S) takes 15 ms of CPU, and a fork of it 1.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# A process that the kernel does not let go of holds nobody up for longer.
_PATIENCE = 5.0
# Bytes of the number that stands before a message, and of an exit code; files that come with a message.
NUMBER, _FILES = 8, 2
_FIRST_FREE, _LAST_OPEN = 3, 256


def main() -> None:
    """Serves the runner until it closes the socket."""
    runner = int(sys.argv[1])
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _end)
    if sys.platform == "linux" and os.getppid() != runner:  # it died before the signal could be asked for
        sys.exit(1)
    connection = socket.socket(fileno=0)
    while message := receive(connection):
        code = _run(*message)
        if not kill_children():
            # A process that is left must not run beside the next command, so this ends as the command did.
            _end_as(code)
        connection.sendall(code.to_bytes(NUMBER, signed=True))


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What to start and the files for it; None at the end."""
    number, files, _, _ = socket.recv_fds(connection, NUMBER, _FILES)
    left = int.from_bytes(number)
    parts = []
    while left and (part := connection.recv(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return (json.loads(b"".join(parts)), files) if number and not left else None


def send(connection: socket.socket, command: dict[str, Any], files: list[int]) -> None:
    """The other side of `receive`."""
    message = json.dumps(command).encode()
    socket.send_fds(connection, [len(message).to_bytes(NUMBER)], files)
    connection.sendall(message)


def _run(command: dict[str, Any], files: list[int]) -> int:
    """Starts the command and waits for it. Returns its exit code, or -N for signal N."""
    child = os.fork()
    if child == 0:
        try:
            _become(command, files)
        finally:
            os._exit(1)
    for file in files:
        os.close(file)
    ended, status = os.waitpid(-1, 0)
    while ended != child:
        ended, status = os.waitpid(-1, 0)
    return os.waitstatus_to_exitcode(status)


def _become(command: dict[str, Any], files: list[int]) -> None:
    """In the child: a session of its own, the signals of a fresh process, the command."""
    # Texts stand for bytes: the runner may have another encoding.
    words = [word.encode("latin-1") for word in command["words"]]
    environment = {name.encode("latin-1"): value.encode("latin-1") for name, value in command["environment"].items()}
    folder = command["folder"].encode("latin-1")
    stdin, log = files
    for source, number in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(source, number)
    os.closerange(_FIRST_FREE, _LAST_OPEN)
    os.setsid()
    for name in (signal.SIGTERM, signal.SIGPIPE):
        signal.signal(name, signal.SIG_DFL)
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.chdir(folder)
    except OSError as error:
        os.write(2, folder + f": {error.strerror}\n".encode(errors="replace"))
        return
    try:
        os.execvpe(words[0], words, environment)  # noqa: S606 - the point of it
    except OSError as error:
        os.write(2, words[0] + f": {error.strerror}\n".encode(errors="replace"))


def _end_as(code: int) -> NoReturn:
    if code < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _end(_signal: int, _frame: object) -> None:
    kill_children()
    os._exit(128 + signal.SIGTERM)


def kill_children() -> bool:
    """Kills all descendants, those that they start meanwhile too; orphans among them come to this process.

    Returns whether none is left.
    """
    deadline = time.monotonic() + _PATIENCE
    while is_left := _reap():
        if time.monotonic() >= deadline:
            break
        for process in _descendants():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    return not is_left


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
