"""The documentation, held against the code: links, files, help texts, options, and the commands that are marked."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
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


def python_blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(ROOT)}:{number}", block)
        for page in PAGES
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))
    ]


@pytest.mark.parametrize(("where", "block"), python_blocks(), ids=lambda value: value if ":" in value[:40] else "")
def test_every_python_block_runs(where: str, block: str, int8_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build/model").symlink_to(int8_bundle)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, ""), where


def test_the_commands_of_the_readme_do_what_it_says(int8_bundle: Path, database: str, tmp_path: Path) -> None:
    """ "Your own rows", followed to the letter, twice: the second time nothing is new."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text[text.index("## Your own rows") : text.index("## In Python")]
    commands = re.findall(r"^    (answermill (?:ingest|answer|load) [^#\n]*)", section, re.M)
    assert [command.split()[1] for command in commands] == ["ingest", "answer", "load", "load"]
    for number in range(2):
        for command in commands:
            words = command.replace("gs://bucket/questions", str(ROOT / "samples/field-guides")).split()
            words = [str(int8_bundle) if word == "build/model" else word for word in words]
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": database},
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, (number, command, done.stderr)
    with psycopg.connect(database) as connection:
        rows = connection.execute("select file, min(row), count(*) from question_answer group by 1").fetchall()
    assert [(file, first) for file, first, _ in rows] == [("birds-and-trees.csv", 1)]
