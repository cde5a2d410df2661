"""`python -m tests.docs`: writes the parts of the documentation that are made from the code."""

import os
import re
import subprocess
import sys

from answermill import VERBS, usage
from tests.conftest import ROOT
from tests.support.ingest_cases import page

PAGE = "docs/commands.md"
INGEST = ROOT / "docs/ingest.md"


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


def ingest_page() -> str:
    """The page about `ingest`, with its tables of what is taken and what is refused made by running the cases."""
    tables = r"(?s)\| taken \|.*\n\n\| refused \|.*?(?=\n\n)"
    return re.sub(tables, lambda _: "\n".join(page()), INGEST.read_text("utf-8"), count=1)


if __name__ == "__main__":
    INGEST.write_text(ingest_page(), "utf-8")
    (ROOT / PAGE).write_text(commands_page(), "utf-8")
