"""The documentation, held against the code: links, files, help texts, options, and the commands that are marked."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from answermill import VERBS
from tests.conftest import ROOT
from tests.docs import PAGE, commands_page, help_text

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "pachyderm/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
# What the tools make, and what stands for a user's own.
MADE = re.compile(r"^(build|data|\.venv)/|[*…<{$]|^/|://|^samples/mine")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    rooms = "|".join(("answermill", "export", "runtime", "stages", "pachyderm", "benchmarks", "tests", "docs"))
    text = page.read_text("utf-8")
    for name in re.findall(rf"`((?:{rooms})/[\w./-]+\.(?:py|md|json|toml))`", text):
        if not MADE.search(name):
            assert (ROOT / name).exists(), name
    for module in re.findall(r"-m ((?:export|stages|pachyderm|benchmarks|tests)(?:\.\w+)*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_the_page_of_commands_is_what_help_says() -> None:
    """`make docs` writes it anew."""
    assert (ROOT / PAGE).read_text("utf-8") == commands_page()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_needs_no_heavy_package(verb: str) -> None:
    script = f"""
import sys
import answermill
try:
    answermill.main(["{verb}", "--help"])
except SystemExit as end:
    heavy = {{"polars", "onnxruntime", "psycopg", "gcsfs", "numpy", "torch", "transformers", "grpc"}} & set(sys.modules)
    sys.exit(", ".join(sorted(heavy)) or end.code)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: answermill {verb}" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text(verb: str) -> None:
    text = re.sub(r"\s+", " ", help_text(verb))
    options = text.partition("options: ")[2]
    for option in re.findall(r"(?<= )--[a-z][\w-]+", options):
        assert re.search(rf"{option}\b[^-]*? [a-z“\"(]", options), option
