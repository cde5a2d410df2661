"""What is remembered of a pipeline's jobs.

ROOT/jobs/PIPELINE/salt.json       changed by --reprocess
ROOT/jobs/PIPELINE/input.json      what it reads, for people to see
ROOT/jobs/PIPELINE/created.json    since when its cron inputs count
ROOT/jobs/PIPELINE/000003/
    job.json                       the job as a whole; replaced in one step
    datums.jsonl                   a line per datum that is decided; a torn last line is no line
    outputs/ID-INDEX               what a datum wrote, until it is in a commit
    logs/ID.log
"""

import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pachyderm.local.store.files import read_json, write_json
from pachyderm.local.store.folder import JobFolder
from pachyderm.local.store.repos import KEPT, Repo

T = TypeVar("T")
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

    def finish(self, state: str, reason: str = "") -> "Job":
        """The job, finished now."""
        return replace(self, state=state, reason=reason, finished=time.time())


class Journal:
    """The jobs of one pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    def of(self, number: int) -> JobFolder:
        """Where a job keeps what it knows."""
        return JobFolder(self._folder_of(number))

    def jobs(self) -> list[Job]:
        """All jobs that are still remembered, the oldest first."""
        return [job for number in self._numbers() if (job := self._read(number))]

    def last(self) -> Job | None:
        """The newest job."""
        jobs = self.jobs()
        return jobs[-1] if jobs else None

    def base(self, repo: Repo) -> Job | None:
        """The last job that succeeded and whose commit is there.

        One that failed is no base: even what succeeded in it is done again.
        """
        jobs = reversed(self.jobs())
        return next((job for job in jobs if job.state == SUCCESS and repo.has(job.number)), None)

    def save(self, job: Job) -> Job:
        """Writes the job down, in one step."""
        folder = self._folder_of(job.number)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "job.json", asdict(job))
        return job

    def begin(self, job_id: str, inputs: Mapping[str, int], spec: str, salt: str) -> Job:
        """A new job, or the last one again if a runner died during it, so that what it finished stays."""
        earlier = self.last()
        if earlier is not None and earlier.state == RUNNING:
            restarts = earlier.restarts + 1
            return self.save(replace(earlier, inputs=dict(inputs), spec=spec, salt=salt, restarts=restarts))
        # Beyond a job that can no longer be read, too.
        number = max([*self._numbers(), *([earlier.number] if earlier else [])], default=0) + 1
        return self.save(Job(self.name, number, job_id, RUNNING, dict(inputs), spec, salt, time.time()))

    def salt(self, *, renew: bool = False) -> str:
        """The salt in the hashes of this pipeline's datums; with a new one, every datum counts as changed."""
        return self._remember("salt.json", lambda: uuid.uuid4().hex, lambda salt: salt, renew=renew)

    def known_salt(self) -> str:
        """The salt, if there is one yet; makes none."""
        try:
            return str(read_json(self.folder / "salt.json"))
        except (FileNotFoundError, ValueError):
            return ""

    def first_seen(self, now: datetime, *, remember: bool) -> datetime:
        """When the pipeline was first seen: now, if it never was."""
        if not remember and not (self.folder / "created.json").exists():
            return now
        return self._remember("created.json", now.isoformat, _read_time)

    def show_input(self, tree: Mapping[str, Any]) -> None:
        """Writes down what the pipeline reads, for people to see; nothing depends on it."""
        if self.shown_input() == tree:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "input.json", tree)

    def shown_input(self) -> dict[str, Any]:
        """What the pipeline reads, as it was written down; if it was not, the repos that its jobs have read."""
        try:
            tree = read_json(self.folder / "input.json")
        except (FileNotFoundError, ValueError):
            tree = None
        if isinstance(tree, dict):
            return tree
        repos = next((job.inputs for job in reversed(self.jobs()) if job.inputs), {})
        return {"cross": [{"pfs": {"repo": repo}} for repo in repos]} if repos else {}

    def _remember(self, name: str, make: Callable[[], str], read: Callable[[str], T], *, renew: bool = False) -> T:
        """A text that is made once. If it is damaged, it is made again, and the log says so."""
        path = self.folder / name
        if not renew:
            try:
                if isinstance(text := read_json(path), str):
                    return read(text)
            except FileNotFoundError:
                return self._remember(name, make, read, renew=True)
            except ValueError:
                pass
            logging.warning("%s: damaged; written again", path)
            if path.is_dir():
                shutil.rmtree(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, text := make())
        return read(text)

    def forget(self, repo: Repo) -> list[Job]:
        """Removes old jobs except the last few and the base. Returns those that stay."""
        jobs, base = self.jobs(), self.base(repo)
        kept = [job for job in jobs if job in jobs[-KEPT:] or job == base]
        for job in jobs:
            if job not in kept:
                shutil.rmtree(self._folder_of(job.number))
        return kept

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdecimal())

    def _read(self, number: int) -> Job | None:
        """A job, or None if its file is damaged. The log says so, and its datums are done again."""
        path = self._folder_of(number) / "job.json"
        try:
            return _as_job(read_json(path), self.name, number)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, AttributeError):
            logging.warning("%s: damaged; this job is ignored, and its datums are processed again", path)
            return None

    def _folder_of(self, number: int) -> Path:
        return self.folder / f"{number:06d}"


def _as_job(fields: Any, pipeline: str, number: int) -> Job:
    """Raises ValueError, TypeError or AttributeError for what is no job."""
    job = Job(**fields)
    texts = (job.id, job.state, job.spec, job.salt, job.reason)
    numbers = (job.started, job.finished, job.restarts, *job.inputs.values(), *job.counts.values())
    if not (
        (job.pipeline, job.number) == (pipeline, number)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(value, int | float) for value in numbers)
    ):
        raise ValueError("not a job")
    return job


def _read_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    return time
