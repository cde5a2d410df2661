"""The arrows of the house, held against the code."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.wall import RUNTIME, walled

ROOMS = ("export", "runtime", "stages", "pachyderm", "benchmarks", "image")
MAY_IMPORT = {
    "runtime": set(),
    "export": {"runtime"},
    "stages": {"runtime"},
    "pachyderm": {"runtime"},
    "benchmarks": {"export", "runtime", "stages", "pachyderm"},
    "image": {"runtime"},
}
HEAVY = {"torch", "transformers", "optimum"}


@cache
def modules(room: str) -> dict[str, set[str]]:
    """What each file of a room imports anywhere, also inside functions: modules, and names that may be modules."""
    files = {}
    for path in (ROOT / room).rglob("*.py"):
        names = set[str]()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        files[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = names
    return files


def imports(room: str) -> set[str]:
    """Top-level names that a room imports."""
    return {name.split(".")[0] for names in modules(room).values() for name in names}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_along_the_arrows(room: str) -> None:
    assert imports(room) & {*ROOMS, "answermill"} - {room} <= MAY_IMPORT[room]


def test_no_files_import_each_other_in_a_circle() -> None:
    """Nor with what is imported for types alone. A package's face hands names on, and is no file of its own here."""
    files = {name: names for room in ROOMS for name, names in modules(room).items() if name != room}
    list(TopologicalSorter({name: names & files.keys() for name, names in files.items()}).static_order())


def test_runtime_imports_nothing_but_its_three_packages() -> None:
    third_party = imports("runtime") - set(sys.stdlib_module_names) - {"runtime"}
    assert third_party == {"numpy", "onnxruntime", "tokenizers"}


def test_only_command_lines_import_argparse() -> None:
    """What they parse has types: in a Namespace only a run finds a misspelt option."""
    below = {
        name
        for room in ("export", "runtime", "stages", "pachyderm")
        for name, names in modules(room).items()
        if "argparse" in names and "add_argument" not in (ROOT / f"{name.replace('.', '/')}.py").read_text("utf-8")
    }
    assert below <= {"pachyderm.__main__"}


@pytest.mark.parametrize("room", ["runtime", "stages", "pachyderm"])
def test_only_export_knows_the_training_stack(room: str) -> None:
    assert not imports(room) & HEAVY


def test_runtime_imports_where_only_its_packages_are_installed() -> None:
    program = walled("import runtime\nprint(runtime.Answerer.__name__)\n", RUNTIME)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Answerer\n", "")


@pytest.mark.parametrize("name", ["ingest", "answer", "load"])
def test_help_of_a_stage_needs_no_heavy_package(name: str) -> None:
    script = f"""
import runpy, sys
sys.argv = ["{name}", "--help"]
try:
    runpy.run_module("stages.{name}", run_name="__main__")
except SystemExit as end:
    heavy = {{"polars", "onnxruntime", "psycopg", "gcsfs", "numpy"}} & set(sys.modules)
    sys.exit(", ".join(sorted(heavy)) or end.code)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "INPUT" in done.stdout or "URL" in done.stdout


# Runs a stage whole, then names the heavy packages that it has loaded.
WITNESS = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
except SystemExit as end:
    heavy = {"polars", "onnxruntime", "tokenizers", "psycopg", "gcsfs", "grpc", "numpy"}
    print(*sorted(heavy & set(sys.modules)))
    sys.exit(end.code)
"""


def test_a_stage_loads_only_heavy_packages_that_it_needs(int8_bundle: Path, database: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("question,context\nWho called?,Ada called at noon.\n", "utf-8")
    stages = {
        "ingest": (("in", "checked"), ""),
        "answer": (("checked", "answers", "--model", str(int8_bundle)), "numpy onnxruntime polars tokenizers"),
        "load": (("answers", "loaded"), "numpy polars psycopg"),
    }
    for name, (arguments, heavy) in stages.items():
        done = subprocess.run(
            [sys.executable, "-c", WITNESS, f"stages.{name}", *arguments],
            cwd=tmp_path,
            env={**os.environ, "DATABASE_URL": database},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, f"{heavy}\n"), done.stderr


def test_names_of_tests_fit_a_line() -> None:
    """A name says the behaviour in under 60 letters; the sentence is the docstring."""
    functions = (
        node
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    )
    assert [node.name for node in functions if node.name.startswith("test_") and len(node.name) >= 60] == []


# A function whose name is a participle, alone or before a preposition: is `joined()` the act, or its result?
PARTICIPLE = re.compile(
    r"(?<!@property\n)^ *def (_*"
    r"(?!(?:need|feed|embed|seed|speed|exceed|proceed)\b)(?:[a-z]+ed|done|told|kept|held|made|said|found|spent|shown|hidden|left|known|seen|gone|given|taken|written|chosen|sent)"
    r"(?:_(?:of|from|by|to|with|without|in|at|as|out|for|late|again|here)(?:_\w+)?)?)\(",
    re.MULTILINE,
)


def test_functions_are_named_by_verbs_or_nouns() -> None:
    """A function is named by a verb, or by the noun that it returns. A participle may name a property."""
    text = "def _left_out(x):\n    def joined(self):\n    @property\n    def added(self):\ndef seed():\n"
    assert PARTICIPLE.findall(text) == ["_left_out", "joined"]
    paths = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    assert [(path.name, name) for path in paths for name in PARTICIPLE.findall(path.read_text("utf-8"))] == []
