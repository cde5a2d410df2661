"""A stage that only copies its datum, so that the time it takes in the local runner is the runner's own."""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime import command
from stages.common import batching


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Where from, where to."""
    parser = command.parser("copier", "Copies its datum.")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(batching.OPTION, action="store_true")
    return parser.parse_args(argv)


def prepare(options: argparse.Namespace) -> Callable[[], str]:
    """Returns what copies the datum that lies in INPUT."""

    def process() -> str:
        # Below the topmost link, as all code for Pachyderm must.
        shutil.copytree(options.input, options.output, dirs_exist_ok=True)
        return ""

    return process


if __name__ == "__main__":
    sys.exit(batching.serve("copier", sys.argv[1:], arguments, prepare))
