"""What a run did, as `status --json` tells it, made ready for the page."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import AnswermillError

# Beyond these a page helps nobody; the counts still cover all datums.
DATUMS = 200
REJECTED = 500
JOBS = 50
TROUBLE = ("failed", "recovered")


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
    rejected = [{"repo": repo["name"], **note} for repo in overview["repos"] for note in repo["rejected"]]
    return {
        "root": overview["root"],
        "repos": [
            {"name": repo["name"], "commits": repo["commits"], "files": len(repo["files"]), "bytes": repo["bytes"]}
            for repo in overview["repos"]
        ],
        "pipelines": in_order([_pipeline(one) for one in overview["pipelines"]]),
        "rejected": rejected[:REJECTED],
        "rejectedCount": len(rejected),
    }


def _pipeline(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    jobs, datums = pipeline["jobs"], pipeline["datums"]
    trouble = [datum for datum in datums if datum["state"] in TROUBLE]
    shown = ("id", "label", "state", "tries", "seconds", "error", "log")
    return {
        "name": pipeline["name"],
        "inputs": sorted(jobs[-1]["inputs"]) if jobs else [],
        "jobs": [
            {name: job[name] for name in ("number", "state", "seconds", "reason", "counts")} for job in jobs[-JOBS:]
        ],
        "counts": dict(Counter(datum["state"] for datum in datums)),
        "trouble": [{name: datum[name] for name in shown} for datum in trouble[:DATUMS]],
        "troubleCount": len(trouble),
    }


def in_order(pipelines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pipelines after those whose repos they read, each with its `level`: 0 where it reads none of the others."""
    by_name = {one["name"]: one for one in pipelines}
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 0
            levels[name] = max((level(one) + 1 for one in by_name[name]["inputs"] if one in by_name), default=0)
        return levels[name]

    ordered = sorted(by_name, key=lambda name: (level(name), name))
    return [{**by_name[name], "level": levels[name]} for name in ordered]
