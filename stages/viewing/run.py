"""What a run did, as `status --json` tells it, made ready for the page."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import AnswermillError
from stages.viewing.graph import in_order, sources
from stages.viewing.legible import legible

# Beyond these a page helps nobody; the counts still cover all datums.
DATUMS = 200
REJECTED = 500
JOBS = 50
TROUBLE = ("failed", "recovered")
FAILED_JOBS = ("failure", "killed", "unrunnable")


def read_status(root: Path | None) -> dict[str, Any]:
    """The overview of a root. A process of its own, because stages do not import the runner. Raises AnswermillError."""
    where = [] if root is None else ["--root", str(root)]
    words = [sys.executable, "-m", "pachyderm", "status", "--json", *where]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AnswermillError(done.stderr.strip().removeprefix("pachyderm: ") or "pachyderm status failed")
    overview: dict[str, Any] = json.loads(done.stdout)
    return overview


def run_data(overview: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an overview."""
    rejected = [{"repo": repo["name"], **_note(note)} for repo in overview["repos"] for note in repo["rejected"]]
    jobs = [_job(pipeline, job) for pipeline in overview["pipelines"] for job in pipeline["jobs"]]
    pipelines = in_order([_pipeline(pipeline) for pipeline in overview["pipelines"]])
    data: dict[str, Any] = legible(
        {
            "root": overview["root"],
            "running": overview["running"],
            "sources": sources(pipelines, [repo["name"] for repo in overview["repos"]]),
            "pipelines": pipelines,
            "jobs": sorted(jobs, key=_worst_and_latest)[:JOBS],
            "jobCount": len(jobs),
            "rejected": rejected[:REJECTED],
            "rejectedCount": len(rejected),
        }
    )
    return data


def _note(note: Mapping[str, Any]) -> dict[str, Any]:
    """A note on a file that was rejected; a stage of the user's may have put anything there."""
    shown = {name: note.get(name) for name in ("row", "column", "reason", "remedy")}
    texts = {name: value if isinstance(value, str | int) else "" for name, value in shown.items()}
    return {"object": str(note.get("object", note["note"])), **texts}


def _worst_and_latest(job: Mapping[str, Any]) -> tuple[bool, float]:
    return job["state"] not in FAILED_JOBS, -job["started"]


def _job(pipeline: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("number", "state", "started", "seconds", "reason", "counts")
    return {"pipeline": pipeline["name"], **{name: job[name] for name in shown}}


def _pipeline(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    datums = pipeline["datums"]
    trouble = [datum for datum in datums if datum["state"] in TROUBLE]
    shown = ("id", "label", "state", "tries", "seconds", "error", "log")
    return {
        "name": pipeline["name"],
        "input": pipeline["input"],
        "last": _job(pipeline, pipeline["jobs"][-1]) if pipeline["jobs"] else None,
        "trouble": [{name: datum[name] for name in shown} for datum in trouble[:DATUMS]],
        "troubleCount": len(trouble),
    }
