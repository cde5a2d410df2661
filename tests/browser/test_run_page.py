"""The page of a run, in a real Chromium: from a real run of pipelines, and from states that a run seldom is in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import answermill
from stages import view_run
from stages.viewing.run import run_data
from stages.viewing.shell import page as html_page

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
NOTHING = "pass"


def pfs(repo: str, name: str = "", **fields: Any) -> dict[str, Any]:
    return {"pfs": {"repo": repo, "glob": "/", **({"name": name} if name else {}), **fields}}


def spec(folder: Path, name: str, reads: dict[str, Any], code: str) -> None:
    content = {
        "pipeline": {"name": name},
        "input": reads,
        "transform": {"image": "none:1.0.0", "cmd": [sys.executable, "-c", code, "/pfs/out"]},
        "datumTries": 1,
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pipeline.json").write_text(json.dumps(content))


def ran(folder: Path, *words: str) -> Path:
    """The page after `run` over the specs in the folder."""
    (folder / "source").mkdir(exist_ok=True)
    (folder / "source/a").write_text("a")
    where = ["--root", str(folder / "root")]
    run = ["run", str(folder / "specs"), *where, "--repo", f"source={folder / 'source'}", *words]
    subprocess.run([sys.executable, "-m", "pachyderm", *run], capture_output=True, text=True, check=False)
    assert answermill.main(["status", "--html", str(folder / "run.html"), *where]) == 0
    return folder / "run.html"


def test_a_failed_run_is_explained(page: "Page", tmp_path: Path) -> None:
    """Pipelines, the datum's reason and log, the rejected file with its remedy; and nothing of them runs as code."""
    spec(tmp_path / "specs", "first", pfs("source"), FIRST)
    spec(tmp_path / "specs", "second", pfs("first"), SECOND)
    page.goto(ran(tmp_path).as_uri())
    nodes = page.locator(".node").all_text_contents()
    text = page.locator("main").text_content() or ""
    assert [node.removesuffix("a repo of yours") for node in nodes[:1]] == ["source"]
    assert ["first success" in nodes[1], "second failed" in nodes[2]] == [True, True]
    assert page.title() == "The run"
    for expected in ("quote the field", "row 7, column context", "before the end", "1 failed", HOSTILE):
        assert expected in text, text


def test_every_input_of_a_pipeline_is_shown(page: "Page", tmp_path: Path) -> None:
    """Cross, union, join, group and cron, one inside of another, by a real run; each has its lines in the graph."""
    specs = tmp_path / "specs"
    spec(specs, "clock", {"cron": {"name": "tick", "spec": "@yearly"}}, NOTHING)
    spec(specs, "one", pfs("source"), NOTHING)
    spec(specs, "crossed", {"cross": [pfs("one", "left"), pfs("clock", "right", emptyFiles=True)]}, NOTHING)
    spec(specs, "united", {"union": [pfs("one", "u"), {"cross": [pfs("source", "v"), pfs("clock", "w")]}]}, NOTHING)
    spec(specs, "joined", {"join": [pfs("one", "a", joinOn="$1"), pfs("clock", "b", joinOn="$1")]}, NOTHING)
    spec(specs, "grouped", {"group": [pfs("one", "a", groupBy="$1"), pfs("clock", "b", groupBy="$1")]}, NOTHING)
    page.goto(ran(tmp_path, "--tick").as_uri())
    words = {name: page.locator(f".node[data-name={name}] .reads").inner_text() for name in ("clock", "one")}
    assert "the ticks of tick, @yearly" in words["clock"] and "source /" in words["one"]
    for name, kind, inputs in (
        ("crossed", "cross", ["one /, as left", "clock /, as right, names only"]),
        ("united", "union", ["one /, as u", "source /, as v", "clock /, as w"]),
        ("joined", "join", ["one /, as a, by $1", "clock /, as b, by $1"]),
        ("grouped", "group", ["one /, as a, by $1", "clock /, as b, by $1"]),
    ):
        said = page.locator(f".node[data-name={name}] .reads").inner_text()
        assert f"({kind})" in said
        for line in inputs:
            assert line in said, said
    assert "ticks @yearly" in page.locator(".node[data-name=clock_tick]").inner_text()
    assert page.locator("#lines path.axis").count() == 2 + 2 + 3 + 2 + 2


def overview(**changes: Any) -> dict[str, Any]:
    """What `status --json` says of a root where one pipeline has had a job."""
    job = {"number": 1, "state": "success", "started": 1.7e9, "seconds": 2.5, "reason": "", "counts": {"processed": 3}}
    one = {"name": "one", "input": pfs("source"), "jobs": [job], "datums": []}
    return {"root": "/root", "running": False, "repos": [], "pipelines": [{**one, **changes}], "job": job}


def show(page: "Page", tmp_path: Path, seen: dict[str, Any]) -> str:
    data = {**run_data(seen), "made": "2026-01-01T00:00:00+00:00"}
    (tmp_path / "run.html").write_text(html_page("The run", "run.html", view_run.STYLES, view_run.MODULES, data))
    page.goto((tmp_path / "run.html").as_uri())
    return page.locator("main").inner_text()


def test_jobs_that_are_not_shown_are_counted(page: "Page", tmp_path: Path) -> None:
    job = overview()["job"]
    jobs = [{**job, "number": number, "started": 1.7e9 + number} for number in range(1, 121)]
    jobs[4] |= {"state": "failure", "reason": "no space"}
    text = show(page, tmp_path, overview(jobs=jobs))
    assert "50 of 120 jobs: failed ones first, then the latest." in text
    numbers = page.locator(".panel", has=page.get_by_role("heading", name="Jobs")).locator("td:nth-child(2)")
    assert numbers.all_inner_texts()[:3] == ["5", "120", "119"]


def test_a_pipeline_without_a_job_is_shown(page: "Page", tmp_path: Path) -> None:
    text = show(page, tmp_path, overview(jobs=[]))
    assert "no job yet" in text
    assert "No pipeline has had a job yet." in text
    assert "waits for its turn" in show(page, tmp_path, {**overview(jobs=[]), "running": True})


def test_a_job_that_runs_is_told_from_one_that_died(page: "Page", tmp_path: Path) -> None:
    jobs = [{**overview()["job"], "state": "running"}]
    assert "one was interrupted" in show(page, tmp_path, overview(jobs=jobs))
    assert "one was running when this page was made" in show(page, tmp_path, {**overview(jobs=jobs), "running": True})


def test_texts_of_others_are_shown_as_what_they_are(page: "Page", tmp_path: Path) -> None:
    """No name, reason or log line runs, hides, or turns the direction of what follows; a long one is cut."""
    text = f"{HOSTILE}\x1b[31m\u202egpj\u2067.exe\x00"
    shown = f"{HOSTILE}\\x1b[31m\\u202egpj\\u2067.exe\\x00"
    datum = {
        "id": "i",
        "label": text,
        "state": "failed",
        "tries": 1,
        "seconds": 1,
        "error": text,
        "log": [text, "x" * 10**6],
    }
    job = {**overview()["job"], "state": "failure", "reason": text}
    seen = overview(name=text, input={"union": [pfs(text), {"cron": {"name": text, "spec": text, "repo": text}}]})
    seen["pipelines"][0] |= {"jobs": [job], "datums": [datum] * 300}
    notes = [{"note": text, "reason": text, "row": [text], "remedy": None}, {"note": "b", "object": {"a": 1}}]
    seen["repos"] = [{"name": text, "commits": 1, "files": [], "bytes": 1, "rejected": notes}]
    show(page, tmp_path, seen)
    assert (tmp_path / "run.html").stat().st_size < 3_000_000
    page.locator("summary").first.click()
    said = page.locator("body").inner_text()
    assert said.count(shown) > 300
    assert not set("\x1b\u202e\u2067\x00") & set(said)
    assert page.title() == "The run"
    assert page.locator("script").count() == 2
