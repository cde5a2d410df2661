"""Where the local runner keeps its state."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime import command

ROOT, DEMO = Path("build/pachyderm"), Path("build/demo")


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds `--root` to a command that looks at a run; where it is not given, `last_root` says which."""
    parser.add_argument(
        "--root",
        type=command.location,
        help=f"folder with the state; default: {ROOT} or {DEMO}, whichever was used last",
    )


def last_root(roots: Sequence[Path] = (ROOT, DEMO)) -> Path:
    """The root that a run used last; what follows `make demo` is a look at the demo."""
    used = {root: (root / "lock").stat().st_mtime for root in roots if (root / "lock").exists()}
    return max(used, key=lambda root: used[root], default=roots[0])
