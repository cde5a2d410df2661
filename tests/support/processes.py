"""Stages as processes that a test watches, kills and measures."""

import os
import subprocess
import sys

from tests.conftest import ROOT


def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """`python -m` with these arguments; stderr is a pipe."""
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def peak(stage: str, *arguments: object, **environment: str) -> int:
    """Peak resident memory in KiB of a stage that ends well."""
    # Of this program alone: wait4 counts what its parent, which may hold a bucket, had when it forked.
    program = """
import atexit, pathlib, runpy, sys
atexit.register(lambda: sys.stdout.write(pathlib.Path("/proc/self/status").read_text()))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", program, stage, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=500, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])
