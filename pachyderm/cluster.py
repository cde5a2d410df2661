"""`answermill status --cluster`: is the cluster alive, and is everything where it belongs? For cron and probes.

Asks pachctl for the jobs of each pipeline, for ingest's listing and for the files that load has passed on, and the
database, if it is named, for its files. Prints what is stuck; the exit code is then 1.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.pachctl import UNFINISHED, Pachctl, objects

PIPELINES = ("ingest", "question-answer", "load", "prune")
# Three ticks of the shipped @hourly.
PATIENCE = 3 * 3600.0
_FAILED = ("JOB_FAILURE", "JOB_KILLED", "JOB_UNRUNNABLE")


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs of one pipeline.

    Attributes:
        pipeline: its name.
        waiting: jobs that have not ended.
        oldest: seconds since the oldest of them was created; None if none waits.
        succeeded: seconds since the last job that succeeded ended; None if none has.
        state: state of the last job that ended, such as `success`; empty if none has.
        job: its id.
        success: id of the last job that succeeded, and of its output commit; empty if none has.

    """

    pipeline: str
    waiting: int
    oldest: float | None
    succeeded: float | None
    state: str
    job: str
    success: str


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Numbers of files, parts counted one by one; None if a number is not known.

    Attributes:
        listed: files in ingest's listing.
        loaded: files that load has passed on.
        refused: files that load has named in `rejected/`; the table has older rows of them, or none.
        in_table: files in the table.

    """

    listed: int | None
    loaded: int | None
    refused: int | None
    in_table: int | None

    def describe_missing(self) -> str:
        """What is missing, in words; empty if nothing is. The next prune deletes what is superfluous."""
        loaded, refused = self.loaded or 0, self.refused or 0
        said = []
        if self.loaded is not None and self.listed is not None and self.listed != loaded + refused:
            said.append(f"{self.listed} listed, {loaded} loaded and {refused} refused")
        if self.loaded is not None and self.in_table is not None and self.in_table < loaded:
            said.append(f"{loaded} loaded, {self.in_table} in the table")
        return "; ".join(said)


def queue_of(pipeline: str, jobs: Sequence[Mapping[str, Any]], now: datetime) -> Queue:
    """What `list job --raw` says about a pipeline."""
    waiting = [_age(job, "created", now) for job in jobs if job.get("state") in UNFINISHED]
    ended = sorted((job for job in jobs if job.get("finished")), key=lambda job: str(job["finished"]))
    succeeded = [job for job in ended if job.get("state") == "JOB_SUCCESS"]
    last, success = ended[-1] if ended else {}, succeeded[-1] if succeeded else {}
    return Queue(
        pipeline,
        len(waiting),
        max(waiting, default=None),
        _age(success, "finished", now) if success else None,
        str(last.get("state", "")).removeprefix("JOB_").lower(),
        str(last.get("job", {}).get("id", "")),
        str(success.get("job", {}).get("id", "")),
    )


def _age(job: Mapping[str, Any], moment: str, now: datetime) -> float:
    try:
        at = datetime.fromisoformat(str(job.get(moment)))
    except ValueError as error:
        raise PachydermError(f"pachctl list job: {moment} is {job.get(moment)!r}, not a time") from error
    return max(0.0, (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds())


def problems(queues: Sequence[Queue], files: FileCounts, patience: float) -> Iterator[str]:
    """What is stuck, and what to do, a line each."""
    # Without ingest, somebody puts the files into a repo.
    has_ingest = any(queue.pipeline == "ingest" for queue in queues)
    start = "`pachctl run cron ingest` ticks now" if has_ingest else "a file that is put into its repo starts a job"
    for queue in queues:
        if f"JOB_{queue.state.upper()}" in _FAILED:
            where = f"{queue.pipeline}@{queue.job}"
            yield f"{queue.pipeline}: its last job is {queue.state}; see answermill why --cluster {where}"
        if queue.oldest is not None and queue.oldest > patience:
            yield (
                f"{queue.pipeline}: a job has waited for {age(queue.oldest)}; "
                f"see `pachctl list job -p {queue.pipeline}`, and check whether its pod runs"
            )
        elif queue.succeeded is None or queue.succeeded > patience:
            since = "never" if queue.succeeded is None else f"{age(queue.succeeded)} ago"
            yield f"{queue.pipeline}: its last success was {since}; {start}"
    # While jobs run, the numbers differ, as they should.
    if (missing := files.describe_missing()) and not any(queue.waiting for queue in queues):
        yield f"files: {missing}; the log of the next prune names those that are lost: pachctl logs -p prune"


def age(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h` or `4.0 d`."""
    for unit, length, digits in (("d", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def report(queues: Sequence[Queue], files: FileCounts, stuck: Sequence[str]) -> Iterator[str]:
    """The lines for people: a table, the files, and what is stuck."""
    from pachyderm.local.status import align

    rows = [
        (
            queue.pipeline,
            queue.waiting,
            "-" if queue.oldest is None else age(queue.oldest),
            "never" if queue.succeeded is None else f"{age(queue.succeeded)} ago",
            queue.state or "-",
        )
        for queue in queues
    ]
    yield from align([("PIPELINE", "WAITING", "OLDEST", "LAST SUCCESS", "LAST JOB"), *rows])
    listed, loaded, refused, in_table = ("?" if count is None else count for count in astuple(files))
    yield f"files: {listed} listed by ingest, {loaded} passed on by load, {refused} refused, {in_table} in the table"
    yield from (f"stuck: {line}" for line in stuck)


def look(pachctl: Pachctl, table: str, now: datetime) -> tuple[list[Queue], FileCounts]:
    """Asks the cluster, and the database where it is named. Raises PachydermError."""
    there = [name for name in PIPELINES if pachctl.exists(("inspect", "pipeline", name))]
    if not there:
        raise PachydermError("none of the pipelines is on the cluster; answermill deploy puts them there")
    queues = [queue_of(name, list(objects(pachctl.run(("list", "job", "-p", name, "--raw")))), now) for name in there]
    # After a failed job `@master` is only what that one did.
    outputs = {queue.pipeline: f"{queue.pipeline}@{queue.success}" for queue in queues if queue.success}
    return queues, FileCounts(
        _count_listed(pachctl, outputs.get("ingest")),
        *_count_loaded(pachctl, outputs.get("load")),
        _count_in_table(table),
    )


def _count_listed(pachctl: Pachctl, output: str | None) -> int | None:
    listing = f"{output}:/listing.json"
    if not output or not pachctl.exists(("inspect", "file", listing)):
        return None
    try:
        return len(json.loads(pachctl.run(("get", "file", listing)))["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PachydermError(f"{listing} is not a listing that ingest wrote") from error


def _count_loaded(pachctl: Pachctl, output: str | None) -> tuple[int | None, int | None]:
    """How many files load has passed on, and how many it has refused."""
    if not output:
        return None, None
    globs = (f"{output}:/**.[cC][sS][vV]", f"{output}:/rejected/**.json")
    loaded, refused = (objects(pachctl.run(("glob", "file", glob, "--raw"))) for glob in globs)
    return _count_files(loaded), _count_files(refused)


def _count_files(entries: Iterable[Mapping[str, Any]]) -> int:
    # A folder may be called a.csv.
    return sum(entry.get("file_type") != "DIR" for entry in entries)


def _count_in_table(table: str) -> int | None:
    if not (os.environ.get("DATABASE_URL") or os.environ.get("PGHOST") or os.environ.get("PGSERVICE")):
        return None
    try:
        import psycopg
        from psycopg import sql
    except ModuleNotFoundError as error:
        raise PachydermError(
            "psycopg is not installed; pip install 'answermill[stages]', or unset DATABASE_URL"
        ) from error
    query = sql.SQL("select pg_catalog.count(*) from {}").format(sql.Identifier(f"{table}_file"))
    try:
        with psycopg.connect(os.environ.get("DATABASE_URL", ""), connect_timeout=10) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.Error as error:
        # The server's own words; libpq quotes what it cannot parse, password and all.
        said = error.diag.message_primary or type(error).__name__
        raise PachydermError(f"the database of DATABASE_URL: {said}") from None
    return int(row[0]) if row else None


def status(pachctl: Pachctl, table: str, patience: float, *, as_json: bool) -> tuple[list[str], bool]:
    """The lines to print, and whether all is well. Raises PachydermError if the cluster does not say."""
    queues, files = look(pachctl, table, datetime.now(UTC))
    stuck = list(problems(queues, files, patience))
    if as_json:
        data = {"pipelines": [asdict(queue) for queue in queues], "files": asdict(files), "stuck": stuck}
        return [json.dumps(data)], not stuck
    return list(report(queues, files, stuck)), not stuck
