"""Runs specs on one machine: brings in what is new, then gives each pipeline that it concerns a job, in order.

A runner of specs, not an engine: one process, one change at a time. To scale out, use Pachyderm.
"""

import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pachyderm.errors import PachydermError, SpecError
from pachyderm.local.jobs import Workplace, log_line, run_job
from pachyderm.local.progress import Watch
from pachyderm.local.store.journal import RUNNING, SUCCESS, UNRUNNABLE, Job, Journal
from pachyderm.local.store.repos import Commit, Repo
from pachyderm.local.store.snapshot import snapshot
from pachyderm.local.store.store import Store, exclusive_root
from pachyderm.local.support import unsupported_features
from pachyderm.local.ticks import tick
from pachyderm.local.worker.mapping import LocalMapping, secret_folder
from pachyderm.local.worker.process import own_mounts
from pachyderm.spec.fields import read_spec
from pachyderm.spec.reading import Pipeline, RawSpec, in_order, parse_pipeline
from pachyderm.spec.rules import check
from runtime.cpu import available_cpus


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and where.

    Attributes:
        root: folder that holds all state.
        specs: by where they stand, for messages.
        repos: folders that stand for repos which no pipeline writes, by the repo's name.
        tick: whether every cron input ticks now, due or not.
        reprocess: pipelines all of whose datums are to be done again.
        workers: most workers at a time, or None for what the specs say and the CPUs leave.

    """

    root: Path
    specs: Mapping[str, RawSpec]
    mapping: LocalMapping = field(default_factory=LocalMapping)
    repos: Mapping[str, Path] = field(default_factory=dict)
    tick: bool = False
    reprocess: frozenset[str] = frozenset()
    workers: int | None = None


def run(options: Options, stop: threading.Event | None = None, watch: Watch | None = None) -> list[Job]:
    """Does what is due, and returns the jobs.

    A job that fails holds up only the pipelines downstream of it; see the jobs' states. Raises SpecError for
    specs that break rules, PachydermError for what else is wrong, StoppedError when `stop` is set.
    """
    pipelines = runnable_pipelines(options)
    with _name_root(options.root), exclusive_root(options.root) as work:
        where = Workplace(
            store=Store(options.root),
            work=work,
            mapping=options.mapping,
            cpus=available_cpus(),
            most=options.workers,
            stop=stop or threading.Event(),
            watch=watch or (lambda _name, _total, _counts: None),
        )
        for pipeline in pipelines.values():
            where.store.pipeline(pipeline.name).show_input(pipeline.input.as_data())
        return list(_jobs(options, pipelines, where))


def runnable_pipelines(options: Options) -> dict[str, Pipeline]:
    """The pipelines by name. Raises SpecError and PachydermError for what keeps them from running here."""
    check(options.specs, _repos(options)).enforce()
    if problems := list(unsupported_features(options.specs)):
        raise SpecError(problems)
    pipelines = {pipeline.name: pipeline for pipeline in map(parse_pipeline, options.specs.values())}
    if unknown := sorted(options.reprocess - pipelines.keys()):
        raise PachydermError(f"--reprocess {unknown[0]}: no such pipeline; there are {', '.join(pipelines)}")
    _check_mapping(options, pipelines)
    return pipelines


@contextmanager
def _name_root(root: Path) -> Iterator[None]:
    """Makes errors of the operating system that name no file, such as a full disk's, name the root."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(root)
        raise


def _repos(options: Options) -> set[str]:
    """Repos that no pipeline of this run writes: the user's folders, and what other runs have left in the root."""
    written = {read_spec(raw)[0].pipeline.name for raw in options.specs.values()}
    left = {folder.name for folder in (options.root / "repos").glob("*")} - written
    return left | set(options.repos)


def _jobs(options: Options, pipelines: Mapping[str, Pipeline], where: Workplace) -> Iterator[Job]:
    job_id = uuid.uuid4().hex
    for repo, source in options.repos.items():
        source.mkdir(parents=True, exist_ok=True)
        snapshot(where.store.repo(repo), source, job_id)
    for pipeline in pipelines.values():
        tick(where.store, pipeline, job_id, now=options.tick)
    stuck: dict[str, str] = {}
    for name in in_order({name: pipeline.input.repos() for name, pipeline in pipelines.items()}):
        pipeline, journal = pipelines[name], where.store.pipeline(name)
        salt = journal.salt(renew=name in options.reprocess)
        commits = {repo: where.store.repo(repo).head() for repo in pipeline.input.repos()}
        reads = [repo for repo in commits if repo in stuck]
        if reads:
            job = _unrunnable(journal, pipeline, job_id, stuck[reads[0]], salt)
        elif is_up_to_date(journal, where.store.repo(name), pipeline, salt, commits):
            continue
        else:
            job = run_job(pipeline, commits, job_id, salt, where)
        if job.state != SUCCESS:
            stuck[name] = name if job.state != UNRUNNABLE else stuck[reads[0]]
        log_line(job)
        yield job
        _forget(where.store, pipelines)


def is_up_to_date(journal: Journal, repo: Repo, pipeline: Pipeline, salt: str, commits: Mapping[str, Commit]) -> bool:
    """Whether the last job was for these commits, went well, and what it made is still there.

    On a cluster a failed one waits for a new commit.
    """
    last = journal.last()
    return (
        last is not None
        and last.state == SUCCESS
        and last.spec == pipeline.digest
        and last.salt == salt
        and last.inputs == {name: commit.number for name, commit in commits.items()}
        and repo.has(last.number)
    )


def _unrunnable(journal: Journal, pipeline: Pipeline, job_id: str, culprit: str, salt: str) -> Job:
    """Writes down that a pipeline could not run; one that a dying runner left keeps what it had finished."""
    last = journal.last()
    if last is not None and last.state == RUNNING:
        return last.finish(UNRUNNABLE, f"{culprit} failed")
    job = journal.begin(job_id, {}, pipeline.digest, salt)
    return journal.save(job.finish(UNRUNNABLE, f"{culprit} failed"))


def _forget(store: Store, pipelines: Mapping[str, Pipeline]) -> None:
    """Removes old jobs, and old commits that no remembered base was built on."""
    needed: dict[str, set[int]] = {}
    for name in pipelines:
        for job in store.pipeline(name).forget(store.repo(name)):
            needed.setdefault(name, set()).add(job.number)
            for repo, number in job.inputs.items():
                needed.setdefault(repo, set()).add(number)
    for repo, numbers in needed.items():
        store.repo(repo).forget(numbers)


def _check_mapping(options: Options, pipelines: Mapping[str, Pipeline]) -> None:
    """Raises PachydermError for a missing secret, or where /pfs cannot be mounted, before anything has begun."""
    for pipeline in pipelines.values():
        for secret in pipeline.transform.secrets:
            secret_folder(options.mapping, secret.name, Path())
    if not options.mapping.real_pfs:
        return
    if not Path("/pfs").is_dir():
        raise PachydermError("/pfs: no such folder to mount on; make an empty one once (sudo mkdir /pfs)")
    probe = [*own_mounts(), "mount", "--bind", "/pfs", "/pfs"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        raise PachydermError("mount namespaces are not allowed here; run without --pfs")
