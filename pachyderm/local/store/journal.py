"""What is remembered of jobs.

ROOT/jobs/PIPELINE/salt            changed by --reprocess
ROOT/jobs/PIPELINE/000003/
    job.json                       the job as a whole; replaced in one step
    datums.jsonl                   a line per datum that is decided; a torn last line is no line
    outputs/ID/…                   what a datum wrote, until it is in a commit
    logs/ID.log
"""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pachyderm.local.store.repos import KEPT, File, write_json
from pachyderm.local.worker.worker import Result

RUNNING, SUCCESS, FAILURE, KILLED, UNRUNNABLE = "running", "success", "failure", "killed", "unrunnable"


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a pipeline over one state of its inputs.

    Attributes:
        id: the same for all jobs that one change led to, as on a cluster.
        inputs: number of the commit, by repo.
        started, finished: seconds since 1970.
        counts: datums by state.
        restarts: how often a new runner took it up.

    """

    pipeline: str
    number: int
    id: str
    state: str
    inputs: Mapping[str, int]
    spec: str
    salt: str
    started: float
    finished: float = 0.0
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0


def job_folder(root: Path, pipeline: str, number: int) -> Path:
    """Where a job keeps what it knows."""
    return root / "jobs" / pipeline / f"{number:06d}"


def jobs(root: Path, pipeline: str) -> list[Job]:
    """All jobs of a pipeline that are still remembered, the oldest first."""
    found = sorted((root / "jobs" / pipeline).glob("[0-9]*/job.json"))
    return [Job(**json.loads(path.read_text("utf-8"))) for path in found]


def last(root: Path, pipeline: str) -> Job | None:
    """The pipeline's newest job."""
    found = jobs(root, pipeline)
    return found[-1] if found else None


def base(root: Path, pipeline: str) -> Job | None:
    """The last job that succeeded. One that failed is no base: even what succeeded in it is done again."""
    return next((job for job in reversed(jobs(root, pipeline)) if job.state == SUCCESS), None)


def save(root: Path, job: Job) -> Job:
    """Writes the job down, in one step."""
    folder = job_folder(root, job.pipeline, job.number)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "job.json", asdict(job))
    return job


def begin(root: Path, pipeline: str, job_id: str, inputs: Mapping[str, int], spec: str, salt: str) -> Job:
    """A new job; or the last one again where a runner died over it, so that what was finished in it stays."""
    earlier = last(root, pipeline)
    if earlier is not None and earlier.state == RUNNING:
        return save(root, replace(earlier, inputs=dict(inputs), spec=spec, salt=salt, restarts=earlier.restarts + 1))
    number = earlier.number + 1 if earlier else 1
    return save(root, Job(pipeline, number, job_id, RUNNING, dict(inputs), spec, salt, time.time()))


def ended(job: Job, state: str, reason: str = "") -> Job:
    """The job, finished now."""
    return replace(job, state=state, reason=reason, finished=time.time())


def append(folder: Path, results: Iterable[Result]) -> None:
    """Adds datums that are decided. One write, so that a line is there or torn, never mixed."""
    lines = "".join(_line(result) for result in results)
    with (folder / "datums.jsonl").open("ab") as file:
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


def results(folder: Path) -> dict[str, Result]:
    """The last word on each datum, by its id."""
    try:
        lines = (folder / "datums.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    # What follows the last line break was being written when the runner died.
    found = (_unpacked(json.loads(line)) for line in lines[:-1] if line.startswith(b"{") and line.endswith(b"}"))
    return {result.id: result for result in found}


def mend(folder: Path) -> None:
    """Cuts off a torn last line, so that the next one starts on its own."""
    path = folder / "datums.jsonl"
    if path.exists():
        whole = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(whole.rfind(b"\n") + 1)


def settle(folder: Path, done: Iterable[Result]) -> None:
    """Leaves only these: a job that was taken up with other inputs may have done datums that it no longer has."""
    partial = folder / ".datums.partial"
    partial.write_text("".join(_line(result) for result in done), "utf-8")
    partial.replace(folder / "datums.jsonl")


def salt(root: Path, pipeline: str, *, renew: bool = False) -> str:
    """What makes this pipeline's results its own; a new one makes every datum a changed one."""
    path = root / "jobs" / pipeline / "salt.json"
    if renew or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, uuid.uuid4().hex)
    found: str = json.loads(path.read_text("utf-8"))
    return found


def forget(root: Path, pipeline: str) -> list[Job]:
    """Removes old jobs but for the last few and the base. Returns those that stay."""
    found, kept_base = jobs(root, pipeline), base(root, pipeline)
    kept = [job for job in found if job in found[-KEPT:] or job == kept_base]
    for job in found:
        if job not in kept:
            shutil.rmtree(job_folder(root, pipeline, job.number))
    return kept


def _line(result: Result) -> str:
    outputs = {path: [file.hash, file.size] for path, file in result.outputs.items()}
    return json.dumps({**asdict(result), "outputs": outputs}, ensure_ascii=False) + "\n"


def _unpacked(line: dict[str, Any]) -> Result:
    return Result(**{**line, "outputs": {path: File(*entry) for path, entry in line["outputs"].items()}})
