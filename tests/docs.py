"""`python -m tests.docs`: writes the parts of the documentation that are made from the code."""

import os
import subprocess
import sys

from answermill import VERBS, usage
from tests.conftest import ROOT

PAGE = "docs/commands.md"


def help_text(verb: str) -> str:
    """What `answermill VERB --help` prints on a terminal of 100 columns."""
    command = [sys.executable, "-m", "answermill", verb, "--help"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True, check=True
    )
    return done.stdout


def commands_page() -> str:
    """The page with the help of every verb."""
    parts = [
        "# Commands",
        "After reading this page you know every option. "
        "It shows what `answermill VERB --help` prints; `make docs` writes it.",
        f"```text\n{usage()}\n```",
    ]
    parts += [f"## answermill {verb}\n\n```text\n{help_text(verb).rstrip()}\n```" for verb in VERBS]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (ROOT / PAGE).write_text(commands_page(), "utf-8")
