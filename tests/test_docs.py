"""The documentation, held against the code: links, files, help texts, options, and the commands that are marked."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from answermill import VERBS
from image.report import one_spelling, reasons_for
from tests.conftest import ROOT
from tests.docs import PAGE, commands_page, help_text
from tests.support import docs as pages
from tests.support.docs import PAGES, Marked

CHECKS = (pages.unknown_files, pages.unknown_targets, pages.wrong_commands, pages.unknown_options)
# A page with one of each kind of lie, and what is said of it.
LIES = """# A page

[a](no.md) [b](#a-page) [c](#no-heading) [d](README.md#try-it) [e](README.md#no) <img src="no.png">

Change `runtime/no.py` or `stages/no/`, never `no.py`; run `make no-such`, with `--no-option`.

    make demo
    answermill fly data
    answermill load data \\
        --again data
    python -m benchmarks.no
    python -m stages.answer a b --prune

`stages/answer.py`, `make test`, `--prune` and `answermill load a b --prune` are there.
"""


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_each_kind_of_lie_is_noticed() -> None:
    """So the tests below do not pass because they look at nothing."""
    assert pages.dead_links(ROOT / "x.md", LIES) == ["no.md", "#no-heading", "README.md#no", "no.png"]
    assert pages.unknown_files(LIES) == ["benchmarks.no", "runtime/no.py", "stages/no/", "no.py"]
    assert pages.unknown_targets(LIES) == ["no-such"]
    assert [one.strip() for one in pages.wrong_commands(LIES)] == [
        "answermill fly data",
        "answermill load data --again data: --again",
        "python -m stages.answer a b --prune: --prune",
    ]
    assert pages.unknown_options(LIES) == ["--no-option"]


def test_there_are_pages_to_look_at() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert names >= {"README.md", "CHANGELOG.md", "docs/load.md", "pachyderm/README.md", "models/minilm-qa/README.md"}
    assert len(names) >= 18


def test_every_link_leads_somewhere(page: Path) -> None:
    assert pages.dead_links(page, page.read_text("utf-8")) == []


def test_what_a_page_names_is_there(page: Path) -> None:
    """Files, modules, targets of make, verbs and options."""
    text = page.read_text("utf-8")
    assert [problem for check in CHECKS for problem in check(text)] == []


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    for path in ROOT.glob("docs/*"):
        if path.suffix in (".md", ".ipynb") and path.name != "README.md":
            assert f"({path.name})" in index, path.name


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent == ROOT / "docs" and path.name != "README.md"])
def test_a_page_begins_with_what_it_is_good_for(path: Path) -> None:
    """And then comes the shortest command or program."""
    title, first, *_ = path.read_text("utf-8").split("\n\n")
    assert title.startswith("# ")
    assert first.startswith("After reading this page you ")
    begin = path.read_text("utf-8")[:1000]
    assert re.search(r"^(    |```|.*`[^`]+ [^`]+`)", begin.partition("you ")[2], re.M), begin


def test_every_option_in_the_code_is_on_a_page() -> None:
    """The options are read from the syntax trees, so that no parser can be forgotten."""
    options = pages.options_in_code()
    assert len(options) >= 12
    assert sum(map(len, options.values())) > 100
    text = "\n".join(path.read_text("utf-8") for path in PAGES)
    missing = [
        f"{path}: {name}"
        for path, names in options.items()
        for name in names
        if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)
    ]
    assert missing == []


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


def test_the_table_of_the_image_is_its_list_of_packages() -> None:
    """Names, reasons and pins; what each takes up is measured by `make image-report`."""
    text = (ROOT / "docs/image.md").read_text("utf-8")
    table = re.findall(r"^\| (\S+|in all) \| ?(\S*) \| (\d+\.\d) \| ?(.*?) ?\|$", text, re.M)
    reasons = reasons_for((ROOT / "image-packages.txt").read_text("utf-8"))
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    versions = {one_spelling(name): version for name, version in pins}
    rows = {name: (version, why) for name, version, _, why in table if name in reasons}
    assert rows == {name: (versions[name], why) for name, why in reasons.items()}
    assert {name for name, *_ in table} - rows.keys() == {"/model", "answermill", "in all"}
    *parts, total = [float(size) for _, _, size, _ in table]
    assert parts == sorted(parts, reverse=True)
    assert abs(sum(parts) - total) < 0.1 * len(parts) / 2


def test_the_drawing_of_the_house_shows_every_room() -> None:
    """Each folder of code is a line of it, below its own parent, and nothing else is."""
    drawn, path = set(), list[str]()
    for line in (ROOT / "docs/architecture.md").read_text("utf-8").splitlines():
        if match := re.match(r"^    ( *)(\w+)/ ", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            drawn.add("/".join(path))
    rooms = {
        str(file.parent.relative_to(ROOT))
        for room in ("export", "runtime", "stages", "pachyderm", "benchmarks", "image")
        for file in (ROOT / room).rglob("__init__.py")
    }
    assert drawn == rooms | {"tests"}


RUN = [
    path for path in PAGES if any(block.mark in ("run", "python") for block in pages.marked_blocks(path.read_text()))
]


def test_the_pages_with_commands_are_these() -> None:
    """A mark that is lost, or misspelt, would run nothing."""
    names = {path.name for path in RUN}
    assert names >= {"README.md", "answer.md", "engines.md", "ingest.md", "load.md", "python.md", "view.md"}
    marks = {block.mark for path in PAGES for block in pages.marked_blocks(path.read_text("utf-8"))}
    assert marks == {"run", "python", "output", "account", "substring"}
    blocks = sum(len(pages.marked_blocks(path.read_text("utf-8"))) for path in PAGES)
    written = sum(len(re.findall(r"^<!-- \w+ -->$|^```python$", path.read_text("utf-8"), re.M)) for path in PAGES)
    assert blocks == written


@pytest.fixture(scope="session")
def walked(int8_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has come as far as the pages assume: a bundle, checked CSVs, and answers."""
    folder = tmp_path_factory.mktemp("walked")
    (folder / "build").mkdir()
    (folder / "build/model").symlink_to(int8_bundle)
    run(["-m", "answermill", "ingest", str(ROOT / "samples/field-guides"), "data/ingest"], folder)
    run(["-m", "answermill", "answer", "data/ingest", "data/answers", "--model", "build/model"], folder)
    return folder


@pytest.mark.parametrize("path", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_do_what_it_says(path: Path, walked: Path, database: str) -> None:
    """All of them, in order; those of the README twice. An output that a page shows is what is printed."""
    blocks = pages.marked_blocks(path.read_text("utf-8"))
    for _ in range(2 if path == ROOT / "README.md" else 1):
        printed = ""
        for block in blocks:
            if block.mark == "output":
                assert printed == block.text
            for command in commands(block):
                printed = run(command, walked, DATABASE_URL=database)


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Runs the interpreter with these words, as somebody in `folder` would. Returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def commands(block: Marked) -> list[list[str]]:
    """The commands of a block, as words behind the interpreter."""
    if block.mark == "python":
        return [["-c", block.text]]
    if block.mark != "run":
        return []
    lines = [line.partition(" #")[0].split() for line in block.text.splitlines() if line.strip()]
    assert all(words[0] == "answermill" for words in lines), block.text
    tables = {place: str(ROOT / "samples/field-guides") for place in ("gs://bucket/questions", "samples")}
    return [["-m", *(tables.get(word, word) for word in words)] for words in lines]
