"""Becomes a worker's command, and dies when the runner dies: `python launch.py RUNNER COMMAND…`.

Without it, the processes of a runner that was killed would go on beside those of the next. A program of its own,
because code between fork and exec is not safe in a runner with threads; run with -I -S it costs some 15 ms.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks the kernel for the signal, then starts the command in this process."""
    runner, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != runner:  # it died before it could be asked for
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the point of it
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
