"""The page of a run, in a real Chromium, made from a real run of pipelines on this machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import answermill

if TYPE_CHECKING:
    from playwright.sync_api import Page


pytestmark = pytest.mark.browser
HOSTILE = "</script><script>document.title='PWNED'</script>"
NOTE = {"object": f"b{HOSTILE}.csv", "row": 7, "column": "context", "reason": HOSTILE, "remedy": "quote the field"}
FIRST = f"""
import json, pathlib, sys
notes = pathlib.Path(sys.argv[1]) / "rejected"; notes.mkdir()
(notes / "b.csv.json").write_text(json.dumps({NOTE!r}))
(pathlib.Path(sys.argv[1]) / "a.csv").write_text("question,context")
"""
SECOND = f"import sys; print('before the end'); sys.exit({HOSTILE!r})"


def spec(folder: Path, name: str, repo: str, code: str) -> None:
    content = {
        "pipeline": {"name": name},
        "input": {"pfs": {"repo": repo, "glob": "/"}},
        "transform": {"image": "none:1.0.0", "cmd": [sys.executable, "-c", code, "/pfs/out"]},
        "datumTries": 1,
    }
    (folder / f"{name}.pipeline.json").write_text(json.dumps(content))


def test_a_failed_run_is_explained(page: "Page", tmp_path: Path) -> None:
    """Pipelines, the datum's reason and log, the rejected file with its remedy; and nothing of them runs as code."""
    specs, source = tmp_path / "specs", tmp_path / "source"
    specs.mkdir()
    source.mkdir()
    (source / "a").write_text("a")
    spec(specs, "first", "source", FIRST)
    spec(specs, "second", "first", SECOND)
    root, target = tmp_path / "root", tmp_path / "run.html"
    words = ["run", str(specs), "--root", str(root), "--repo", f"source={source}"]
    ended = subprocess.run([sys.executable, "-m", "pachyderm", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert answermill.main(["status", "--html", str(target), "--root", str(root)]) == 0
    page.goto(target.as_uri())
    nodes = page.locator(".node").all_text_contents()
    text = page.locator("main").text_content() or ""
    title = page.title()
    assert [node.split()[0] for node in nodes] == ["first", "second"], ended.stderr
    assert title == "The run"
    for expected in ("quote the field", "row 7, column context", "before the end", "1 failed", HOSTILE):
        assert expected in text, text
