"""What a root holds, for people and for machines: repos, jobs, datums, logs."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.local.store.folder import JobFolder
from pachyderm.local.store.journal import RUNNING, Job, Journal
from pachyderm.local.store.repos import Commit, Repo
from pachyderm.local.store.results import FAILED, RECOVERED
from pachyderm.local.store.store import Store
from runtime.logs import printable

_SHOWN = 20
_LOG_LINES = 10
_LOG_BYTES = 16_384


def overview(root: Path) -> dict[str, Any]:
    """Everything, as plain data: repos with their files, pipelines with their jobs and the last one's datums."""
    store = Store(root)
    store.check()
    repos = [_repo(repo) for repo in store.repos()]
    pipelines = [_pipeline(store.pipeline(name)) for name in store.known_pipelines()]
    return {"root": str(root), "running": store.is_in_use(), "repos": repos, "pipelines": pipelines}


def table(view: dict[str, Any]) -> Iterator[str]:
    """An overview in lines."""
    rows: list[list[object]] = [["REPO", "COMMITS", "FILES", "BYTES"]]
    rows += [[repo["name"], repo["commits"], len(repo["files"]), repo["bytes"]] for repo in view["repos"]]
    yield from align(rows)
    rows = [["PIPELINE", "JOB", "STATE", "DATUMS", "DONE", "SKIPPED", "FAILED", "SECONDS", "STARTED"]]
    for pipeline in view["pipelines"]:
        if not pipeline["jobs"]:
            rows.append([pipeline["name"], "", "no job yet", *[""] * 6])
        for job in pipeline["jobs"][-1:]:
            counts = job["counts"]
            done = counts.get("processed", 0) + counts.get("recovered", 0)
            rows.append(
                [
                    pipeline["name"],
                    job["number"],
                    job["state"],
                    sum(counts.values()),
                    done,
                    counts.get("skipped", 0),
                    counts.get("failed", 0),
                    job["seconds"],
                    time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["started"])),
                ]
            )
    yield ""
    yield from align(rows)
    for pipeline in view["pipelines"]:
        yield from _troubles(pipeline)


def details(view: dict[str, Any], name: str) -> Iterator[str]:
    """One pipeline in lines: its jobs, and the last one's datums."""
    pipeline = next((each for each in view["pipelines"] if each["name"] == name), None)
    if pipeline is None:
        raise PachydermError(f"no pipeline {name}; there are {', '.join(p['name'] for p in view['pipelines'])}")
    rows = [["JOB", "STATE", "DATUMS", "SECONDS", "REASON"]]
    for job in pipeline["jobs"][-_SHOWN:]:
        rows.append([job["number"], job["state"], sum(job["counts"].values()), job["seconds"], job["reason"]])
    yield from align(rows)
    rows = [["DATUM", "STATE", "TRIES", "SECONDS", "PATH"]]
    for datum in pipeline["datums"]:
        rows.append([datum["id"][:12], datum["state"], datum["tries"], datum["seconds"], datum["label"]])
    yield ""
    yield from align(rows)
    yield from _troubles(pipeline)


def log_lines(root: Path, pipeline: str, number: int | None, datum: str | None) -> Iterator[str]:
    """What the datums of a job said, each line after the datum's path. Raises PachydermError.

    Without a number it is the last job with logs: one that skipped every datum has none, and says nothing.
    """
    store = Store(root)
    store.check()
    journal = store.pipeline(pipeline)
    jobs = [job for job in journal.jobs() if number in (None, job.number)]
    if not jobs:
        raise PachydermError(
            f"{pipeline}: no such pipeline or job; there are the pipelines {', '.join(store.pipelines()) or '(none)'}"
        )
    folders = [journal.of(job.number) for job in reversed(jobs)]
    folder = next((folder for folder in folders if any(folder.logs())), folders[0])
    known = folder.results()
    labels = {path: known[path.stem].label if path.stem in known else path.stem[:12] for path in folder.logs()}
    if datum:
        labels = {path: label for path, label in labels.items() if path.stem.startswith(datum) or datum in label}
    if datum and not labels:
        raise PachydermError(
            f"--datum {datum}: no datum of this job has such an id or path, and a log; "
            f"`answermill status {pipeline}` names its datums"
        )
    for path, label in labels.items():
        for line in path.read_text("utf-8", "replace").splitlines():
            yield printable(f"{label}: {line}")


def _repo(repo: Repo) -> dict[str, Any]:
    last = repo.head()
    files = [{"path": path, "bytes": file.size, "hash": file.hash} for path, file in last.files.items()]
    return {
        "name": repo.name,
        "commits": len(repo.numbers()),
        "head": last.number,
        "folder": str(last.folder),
        "bytes": sum(file.size for file in last.files.values()),
        "files": files,
        "rejected": list(_rejections(last)),
    }


def _rejections(commit: Commit) -> Iterator[dict[str, Any]]:
    """The notes on files that a stage turned down; one that cannot be read is named with the reason."""
    for path in commit.files:
        name = path.lstrip("/")
        if not (name.startswith("rejected/") and name.endswith(".json")):
            continue
        try:
            note = json.loads(commit.path_of(path).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            note = {"reason": f"the note cannot be read: {error}"}
        yield {"note": name, **(note if isinstance(note, dict) else {"reason": str(note)})}


def _pipeline(journal: Journal) -> dict[str, Any]:
    jobs = journal.jobs()
    if not jobs:
        return {"name": journal.name, "input": journal.shown_input(), "jobs": [], "datums": []}
    last = jobs[-1]
    folder = journal.of(last.number)
    results = folder.results()
    if last.state == RUNNING:
        jobs[-1] = replace(last, counts=dict(Counter(result.state for result in results.values())))
    return {
        "name": journal.name,
        "input": journal.shown_input(),
        "jobs": [as_data(job) for job in jobs],
        "datums": [
            {**asdict(result), "log": _last_lines(folder, result.id) if result.state in (FAILED, RECOVERED) else []}
            for result in results.values()
        ],
    }


def _last_lines(folder: JobFolder, datum_id: str) -> list[str]:
    """How a datum's log ends; a log may be large, so only its end is read."""
    try:
        with folder.log(datum_id).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return []


def as_data(job: Job) -> dict[str, Any]:
    """A job as plain data, with the seconds that it took, or has taken so far."""
    seconds = round((job.finished or time.time()) - job.started, 1)
    return {**asdict(job), "seconds": seconds}


def _troubles(pipeline: dict[str, Any]) -> Iterator[str]:
    for job in pipeline["jobs"][-1:]:
        if job["reason"]:
            yield ""
            yield f"{pipeline['name']} job {job['number']} {job['state']}: {job['reason']}"
    failed = [datum for datum in pipeline["datums"] if datum["state"] in (FAILED, RECOVERED)]
    for datum in failed[:_SHOWN]:
        yield f"  {printable(datum['label'])} ({datum['id'][:12]}, {datum['tries']} tries): {datum['error']}"
    if len(failed) > _SHOWN:
        yield f"  and {len(failed) - _SHOWN} more"


def align(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Rows as lines whose columns stand below each other, without anything that a terminal would obey."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
