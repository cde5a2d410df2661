"""Stages as processes that a test watches, kills and measures."""

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.conftest import ROOT


def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """`python -m` with these arguments; stderr is a pipe."""
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def peak(arguments: Sequence[object], **environment: str) -> int:
    """Peak resident memory in KiB of a process that ends well."""
    with start(*arguments, **environment) as process:
        told = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    return usage.ru_maxrss
