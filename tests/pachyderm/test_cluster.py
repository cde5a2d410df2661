"""`answermill status --cluster`: what a cron or a probe learns about a cluster, from a pachctl that tells a story."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.loading import run_load, write_version

# As pachctl 2.12 prints them: a stream of objects, snake_case keys, counts as text, nanoseconds.
PACHCTL = """#!PYTHON
import json, os, sys
from pathlib import Path

told = json.loads(Path(os.environ["STORY"]).read_text())
call = " ".join(sys.argv[1:])
if call not in told:
    verb, kind, name = sys.argv[1:4]
    forms = {"pipeline": 'pipeline "%s" not found', "file": "file /%s not found in repo default/ingest at commit a"}
    sys.exit(forms[kind] % name.rpartition("/")[2] if verb == "inspect" else f"rpc error: {call}")
print(told[call])
"""
GLOB = "glob file load@a:/**.[cC][sS][vV] --raw"
NOTES = "glob file load@a:/rejected/**.json --raw"
PIPELINES = ("ingest", "question-answer", "load", "prune")


def job(name: str, state: str, minutes: float) -> str:
    """A job that was made so many minutes ago and, if it has ended, took one."""
    created = datetime.now(UTC) - timedelta(minutes=minutes)
    times = {"created": f"{created:%Y-%m-%dT%H:%M:%S}.123456789Z"}
    if state not in ("JOB_RUNNING", "JOB_CREATED"):
        times["finished"] = f"{created + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}.123456789Z"
    return json.dumps({"job": {"id": name}, "state": state, "data_total": "3", **times})


def story(**jobs: list[str]) -> dict[str, str]:
    """A healthy cluster, but for the jobs that are given."""
    told = {"inspect file ingest@a:/listing.json": "{}"}
    for name in PIPELINES:
        told[f"inspect pipeline {name}"] = "{}"
        told[f"list job -p {name} --raw"] = "\n".join(jobs.get(name.replace("-", "_"), [job("a", "JOB_SUCCESS", 20)]))
    told["get file ingest@a:/listing.json"] = json.dumps({"files": {"a.csv": {}, "b.csv": {}}})
    files = [json.dumps({"file": {"path": f"/{name}.csv"}}) for name in "ab"]
    told[GLOB], told[NOTES] = "".join(files), ""
    return told


def ask(
    folder: Path, told: dict[str, str], *words: str, verb: str = "status", **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "story").write_text(json.dumps(told))
    pachctl = folder / "bin/pachctl"
    pachctl.parent.mkdir(exist_ok=True)
    pachctl.write_text(PACHCTL.replace("PYTHON", sys.executable))
    pachctl.chmod(0o755)
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    path = f"{pachctl.parent}:{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "pachyderm", verb, "--cluster", *words],
        cwd=ROOT,
        env={**others, "PATH": path, "STORY": str(folder / "story"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_healthy_cluster_is_exit_code_zero(tmp_path: Path) -> None:
    done = ask(tmp_path, story())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split() == ["ingest", "0", "-", "19", "min", "ago", "success"]
    assert "files: 2 listed by ingest, 2 passed on by load, 0 refused, ? in the table" in done.stdout


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ({"load": [("a", "JOB_SUCCESS", 60), ("bad", "JOB_FAILURE", 5)]}, "answermill why --cluster load@bad"),
        ({"prune": [("late", "JOB_UNRUNNABLE", 5)]}, "prune: its last job is unrunnable"),
        ({"load": [("a", "JOB_SUCCESS", 300), ("b", "JOB_RUNNING", 240)]}, "load: a job has waited for 4.0 h"),
        ({"ingest": [("a", "JOB_SUCCESS", 60 * 72)]}, "ingest: its last success was 3.0 d ago"),
        ({"question_answer": [("a", "JOB_CREATED", 5)]}, "question-answer: its last success was never"),
    ],
)
def test_what_is_stuck_is_said_and_fails(
    tmp_path: Path, jobs: dict[str, list[tuple[str, str, float]]], said: str
) -> None:
    done = ask(tmp_path, story(**{name: [job(*one) for one in some] for name, some in jobs.items()}))
    assert done.returncode == 1
    assert f"stuck: {said}" in done.stdout or said in done.stdout


def test_a_job_that_runs_is_not_stuck(tmp_path: Path) -> None:
    """While it runs, files may differ."""
    told = story(load=[job("a", "JOB_SUCCESS", 60), job("b", "JOB_RUNNING", 2)])
    told[GLOB] = json.dumps({"file": {"path": "/a.csv"}})
    assert ask(tmp_path, told).returncode == 0


def test_why_tells_of_the_last_job_that_has_ended(tmp_path: Path) -> None:
    """A job that runs by now says nothing about the one before; a worker's log is gone with its pod."""
    told = story(load=[job("bad", "JOB_FAILURE", 5), job("b", "JOB_RUNNING", 2)])
    told["list datum load@bad --raw"] = json.dumps({"datum": {"id": "d1"}, "state": "FAILED"})
    inputs = [{"fileInfo": {"file": {"path": "/a.csv"}}}]
    told["get file load.meta@bad:/meta/d1/meta"] = json.dumps({"reason": "killed", "state": "FAILED", "inputs": inputs})
    for words in ((), ("load@bad",)):
        done = ask(tmp_path, told, *words, verb="why")
        assert (done.returncode, done.stderr) == (1, "")
        assert "  /a.csv (d1): killed" in done.stdout
    assert ask(tmp_path, told, "load@b", verb="why").returncode == 0


def test_a_failed_jobs_output_is_not_counted(tmp_path: Path) -> None:
    """`load@master` is what the failed job did, and no more; a folder that is called like a CSV is none."""
    told = story(load=[job("a", "JOB_SUCCESS", 60), job("bad", "JOB_FAILURE", 5)])
    told[GLOB] += json.dumps({"file": {"path": "/folder.csv/"}, "file_type": "DIR"})
    done = ask(tmp_path, told)
    assert "files: 2 listed by ingest, 2 passed on by load, 0 refused" in done.stdout
    assert done.stdout.count("stuck: ") == 1


def test_why_says_what_it_cannot_read(tmp_path: Path) -> None:
    """A job that was killed may have kept no reason; a job that is not there is no job that has not failed."""
    told = story(load=[job("bad", "JOB_KILLED", 5)])
    told["list datum load@bad --raw"] = json.dumps({"datum": {"id": "d1"}, "state": "FAILED"})
    done = ask(tmp_path, told, verb="why")
    assert (done.returncode, done.stderr) == (1, "")
    assert "  ? (d1): its reason is not known: pachctl get file" in done.stdout
    done = ask(tmp_path, told, "load@none", verb="why")
    assert (done.returncode, done.stdout) == (1, "")
    assert "load has no job none" in done.stderr


def test_files_that_differ_are_said_where_nothing_runs(tmp_path: Path) -> None:
    told = story()
    told["get file ingest@a:/listing.json"] = json.dumps({"files": {name: {} for name in "abc"}})
    done = ask(tmp_path, told)
    assert done.returncode == 1
    assert "stuck: files: 3 listed, 2 loaded and 0 refused; the log of the next prune" in done.stdout


def test_the_table_is_counted_where_the_database_is_named(tmp_path: Path, database: str) -> None:
    write_version(tmp_path / "in/a.csv", "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    done = ask(tmp_path, story(), "--json", DATABASE_URL=database)
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["files"] == {"listed": 2, "loaded": 2, "refused": 0, "in_table": 1}
    assert done.returncode == 1
    assert told["stuck"][0].startswith("files: 2 loaded, 1 in the table")


def test_what_is_refused_or_still_to_be_pruned_is_not_stuck(tmp_path: Path, database: str) -> None:
    """A file that the table refuses is named by load; one that prune has spared goes with the next tick."""
    for name in "abc":
        write_version(tmp_path / f"in/{name}.csv", "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    told = story()
    told[GLOB], told[NOTES] = (json.dumps({"file": {"path": path}}) for path in ("/a.csv", "/rejected/b.csv.json"))
    done = ask(tmp_path, told, DATABASE_URL=database)
    assert "files: 2 listed by ingest, 1 passed on by load, 1 refused, 3 in the table" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"list job -p load --raw": None}, "rpc error"),
        ({"get file ingest@a:/listing.json": "[]"}, "is not a listing that ingest wrote"),
        ({f"inspect pipeline {name}": None for name in PIPELINES}, "none of the pipelines is on the cluster"),
    ],
)
def test_what_the_cluster_does_not_say_is_one_line(tmp_path: Path, change: dict[str, str | None], said: str) -> None:
    told = {call: text for call, text in {**story(), **change}.items() if text is not None}
    done = ask(tmp_path, told)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_one_line_without_secrets(tmp_path: Path) -> None:
    done = ask(tmp_path, story(), DATABASE_URL="postgresql://me:s3cret@127.0.0.1:9/nothing")
    assert done.returncode == 1
    assert "s3cret" not in done.stderr and done.stderr.count("\n") == 1
