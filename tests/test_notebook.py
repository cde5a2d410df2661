"""The notebook for newcomers: its code runs from top to bottom and prints what it shows."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs/first-answers.ipynb"
# Runs the cells in one namespace, as a kernel does, and says what each has printed.
RUN = """
import contextlib, io, json, sys
namespace, printed = {"__name__": "__main__"}, []
for source in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "cell", "exec"), namespace)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def code_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_prints_what_it_shows(int8_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build/model").symlink_to(int8_bundle)
    sources = ["".join(cell["source"]) for cell in code_cells()]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(sources),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kept = ["".join(text for output in cell["outputs"] for text in output["text"]) for cell in code_cells()]
    assert json.loads(done.stdout) == kept


def test_the_notebook_is_as_jupyter_would_save_it() -> None:
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    assert [cell["execution_count"] for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    assert {output["name"] for cell in code_cells() for output in cell["outputs"]} == {"stdout"}
