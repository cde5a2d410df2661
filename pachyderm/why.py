"""`answermill why [PIPELINE[@JOB]]`: the datums that failed, with file, reason and last log lines, and how to go on.

A cluster keeps the reason only in the pipeline's meta repo: `pachctl inspect job` says "datum ID failed", and
`pachctl logs` fails once the pods are gone.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pachyderm.cluster import PIPELINES
from pachyderm.errors import PachydermError
from pachyderm.options import add_root, add_timeout
from pachyderm.pachctl import UNFINISHED, Pachctl, objects
from pachyderm.roots import last_root
from runtime import command
from runtime.logs import printable

_LOG_LINES = 5


@dataclass(frozen=True, slots=True)
class FailedDatum:
    """One datum that failed; `tries` is 0 if their number is not known."""

    id: str
    file: str
    reason: str
    tries: int
    log: Sequence[str]


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A pipeline's job that did not succeed."""

    name: str
    state: str
    reason: str
    datums: Sequence[FailedDatum]


def lines(jobs: Sequence[FailedJob], remedy: str) -> Iterator[str]:
    """The report; the same for a cluster and for this machine."""
    for job in jobs:
        yield f"{job.name} {job.state}: {job.reason}"
        for datum in job.datums:
            tries = f", {datum.tries} tries" if datum.tries else ""
            yield f"  {datum.file} ({datum.id[:12]}{tries}): {datum.reason}"
            yield from (f"    | {line}" for line in datum.log)
    if waiting := [job.name for job in jobs if job.state == "unrunnable"]:
        yield f"waiting for it: {', '.join(waiting)}"
    yield f"to go on: {remedy}" if jobs else "no pipeline's last job has failed"


def local_failures(root: Path, pipeline: str, number: str) -> Iterator[FailedJob]:
    """The failed last jobs of the local runner, or a job by its number. Raises PachydermError."""
    from pachyderm.local.status import log_lines
    from pachyderm.local.store.results import FAILED
    from pachyderm.local.store.store import Store

    store = Store(root)
    store.check()
    names = [name for name in store.pipelines() if pipeline in ("", name)]
    if not names:
        if not pipeline:
            raise PachydermError(f"{root}: no pipeline has run here yet; start with answermill run --root {root}")
        raise PachydermError(f"no pipeline {pipeline}; there are {', '.join(store.pipelines()) or '(none)'}")
    for name in names:
        journal = store.pipeline(name)
        for job in [job for job in journal.jobs() if number in ("", str(job.number))][-1:]:
            failed = [result for result in journal.of(job.number).results().values() if result.state == FAILED]
            datums = [
                FailedDatum(datum.id, datum.label, datum.error, datum.tries, log[-_LOG_LINES:])
                for datum in failed
                for log in [list(log_lines(root, name, job.number, datum.id))]
            ]
            if job.reason:
                yield FailedJob(f"{name}@{job.number}", job.state, job.reason, datums)


def cluster_failures(pachctl: Pachctl, pipeline: str, job_id: str) -> Iterator[FailedJob]:
    """The failed last jobs on a cluster, or a job by its id. Raises PachydermError."""
    for name in [pipeline] if pipeline else PIPELINES:
        if not pipeline and not pachctl.exists(("inspect", "pipeline", name)):
            continue
        jobs = list(objects(pachctl.run(("list", "job", "-p", name, "--raw"))))
        if job_id:
            jobs = [job for job in jobs if job["job"]["id"] == job_id]
            if not jobs:
                raise PachydermError(f"{name} has no job {job_id}; pachctl list job -p {name} names them")
        else:
            # A job that still runs says nothing about why the one before has failed.
            jobs = [job for job in jobs if job.get("state") not in UNFINISHED]
        for job in sorted(jobs, key=lambda job: str(job.get("created", "")))[-1:]:
            state = str(job.get("state", "")).removeprefix("JOB_").lower()
            if state in ("failure", "killed", "unrunnable"):
                datums = list(_datums(pachctl, name, job["job"]["id"]))
                yield FailedJob(f"{name}@{job['job']['id']}", state, str(job.get("reason", "")), datums)


def _datums(pachctl: Pachctl, name: str, job_id: str) -> Iterator[FailedDatum]:
    for datum in objects(pachctl.run(("list", "datum", f"{name}@{job_id}", "--raw"))):
        if datum.get("state") != "FAILED":
            continue
        datum_id = datum["datum"]["id"]
        files, reason = _meta(pachctl, f"{name}.meta@{job_id}:/meta/{datum_id}/meta")
        log: list[str] = []
        # Once the pods are gone, pachctl fails.
        with contextlib.suppress(PachydermError):
            log = pachctl.run(("logs", "-j", f"{name}@{job_id}", "--datum", datum_id)).splitlines()[-_LOG_LINES:]
        yield FailedDatum(datum_id, files, reason, 0, log)


def _meta(pachctl: Pachctl, file: str) -> tuple[str, str]:
    """The files of a datum and the reason why it failed; a job that was killed may have kept neither."""
    try:
        meta = json.loads(pachctl.run(("get", "file", file)))
        files = [part["fileInfo"]["file"]["path"] for part in meta.get("inputs", [])]
        return " ".join(files), " ".join(str(meta.get("reason", "")).split())
    except (PachydermError, ValueError, KeyError, TypeError, AttributeError) as error:
        return "?", f"its reason is not known: {error}"


def main(argv: Sequence[str]) -> int:
    """Prints why. Returns the exit code: 1 if a job has failed."""
    parser = command.parser("why", "Shows why jobs failed: files, reasons, last log lines, and how to go on.")
    parser.add_argument(
        "job", nargs="?", default="", metavar="PIPELINE[@JOB]", help="default: the last jobs of all pipelines"
    )
    parser.add_argument("--cluster", action="store_true", help="ask pachctl instead of the local runner's folder")
    add_root(parser)
    add_timeout(parser)
    return command.run("why", _why, parser.parse_args(argv))


def _why(given: argparse.Namespace) -> int:
    pipeline, _, job = given.job.partition("@")
    if given.cluster:
        jobs = list(cluster_failures(Pachctl(given.rpc_timeout), pipeline, job))
        remedy = "correct what is named above, then pachctl run cron ingest, or put a file into your own repo"
    else:
        jobs = list(local_failures(given.root or last_root(), pipeline, job))
        remedy = "correct what is named above, then run again"
    sys.stdout.writelines(f"{printable(line)}\n" for line in lines(jobs, remedy))
    return command.FAILED if jobs else command.DONE
