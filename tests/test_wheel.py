"""What one installs: the wheel, in an environment of its own, away from the tree."""

import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from tests.conftest import ROOT, SAMPLES
from tests.support.wall import RUNTIME, walled

ROOMS = ("export", "pachyderm", "runtime", "stages")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build leaves folders behind in its tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("answermill.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for room in (*ROOMS, "benchmarks", "image", "tests"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    subprocess.run([*build, str(tree)], check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of an environment that holds the wheel and the packages of this one, but not this tree."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A folder that is named in a .pth file has no .pth files of its own read: the editable tree stays out.
    (site / "packages.pth").write_text(f"{Path(numpy.__file__).parent.parent}\n")

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "bin" / program), *map(str, arguments)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)

    return run


def test_the_wheel_holds_all_code_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        tree = {str(path.relative_to(ROOT)) for path in (ROOT / room).rglob("*.py")}
        assert tree <= names
        assert f"{room}/py.typed" in names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "pachyderm").rglob("*.json")} <= names
    assert {"answermill.py", "export/manifest.schema.json"} <= names
    assert not [name for name in names if name.startswith(("benchmarks/", "image/", "tests/", "samples/", "models/"))]


def test_the_command_works_where_only_the_wheel_is(installed: Run, int8_bundle: Path, tmp_path: Path) -> None:
    shown = installed("answermill", "--help")
    assert shown.returncode == 0 and "usage: answermill VERB" in shown.stdout
    checked = installed("answermill", "check")
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
    assert "4 specs" in checked.stderr
    sample = SAMPLES / "medical-leaflets.csv"
    done = installed("answermill", "answer", sample, tmp_path / "out", "--model", int8_bundle)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/medical-leaflets.csv").read_text("utf-8").count("\n") > 10


@pytest.mark.parametrize(
    "arguments", [("answermill", "--help"), ("stages.answer", "--help"), ("pachyderm", "check", "--help")]
)
def test_modules_run_from_the_wheel(installed: Run, arguments: tuple[str, ...]) -> None:
    done = installed("python", "-m", *arguments)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


FACE = """
import answermill
heavy = {"numpy", "onnxruntime", "tokenizers"} & set(sys.modules)
from answermill import Answer, Answerer, AnswermillError, Decoding, __version__
print(sorted(heavy), Answerer.__module__, Decoding().top_k, issubclass(AnswermillError, Exception), __version__)
"""


def test_the_import_needs_the_runtime_packages_alone(installed: Run) -> None:
    done = installed("python", "-c", walled(FACE, {*RUNTIME, "answermill"}))
    assert done.stderr == ""
    assert done.stdout.split() == ["[]", "runtime.answerer", "1", "True", "0.1.0"]


def test_a_missing_package_is_named_with_the_extra(installed: Run) -> None:
    """Whoever installed the runtime alone and asks for a stage is told what to install."""
    program = "import answermill\nsys.exit(answermill.main(['ingest', 'gs://bucket/in', 'out']))"
    done = installed("python", "-c", walled(program, {*RUNTIME, "answermill", "stages"}))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'answermill[stages]'" in done.stderr
