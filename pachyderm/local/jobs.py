"""One job: which datums are new, what the workers do, and whether an output commit comes of it."""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from pathlib import Path

from pachyderm.local.datums import Datum, cut_into_sets, datums
from pachyderm.local.progress import Watch
from pachyderm.local.store.files import File, force_to_disk, is_whole
from pachyderm.local.store.folder import JobFolder
from pachyderm.local.store.journal import FAILURE, KILLED, SUCCESS, Job, Journal
from pachyderm.local.store.names import collision
from pachyderm.local.store.repos import Commit, Repo
from pachyderm.local.store.results import FAILED, PROCESSED, SKIPPED, Result
from pachyderm.local.store.store import Store
from pachyderm.local.worker.batched import StartError
from pachyderm.local.worker.mapping import LocalMapping
from pachyderm.local.worker.worker import JobOverdueError, Task, Worker
from pachyderm.spec.reading import Pipeline


@dataclass(frozen=True, slots=True)
class Workplace:
    """What jobs share.

    Attributes:
        work: folder for what lives no longer than this run.
        most: workers that this machine has room for, whatever a spec says; None for what the spec's CPUs leave.
        watch: told, on every datum, the pipeline's name, the number of datums and how many are in which state.

    """

    store: Store
    work: Path
    mapping: LocalMapping
    cpus: int
    most: int | None
    stop: threading.Event
    watch: Watch


def run_job(pipeline: Pipeline, commits: Mapping[str, Commit], job_id: str, salt: str, where: Workplace) -> Job:
    """Runs a pipeline on commits, by repo, and returns the finished job.

    Raises StoppedError, with the job still running in the books, and PachydermError for a fault that is no datum's.
    """
    journal, repo = where.store.pipeline(pipeline.name), where.store.repo(pipeline.name)
    job = journal.begin(job_id, {name: commit.number for name, commit in commits.items()}, pipeline.digest, salt)
    folder = journal.of(job.number)
    folder.mend()
    repo.unpublish(job.number)
    before = journal.base(repo)
    wanted = datums(pipeline, commits, salt)
    done = _resume(wanted, folder) | _skip(wanted, base_results(journal, repo, before, pipeline), folder)
    todo = [datum for datum in wanted if datum.id not in done]
    progress = _Progress(folder, pipeline.name, len(wanted), done, where.watch)
    task = Task(pipeline, where.mapping, folder, job.id, _deadline(pipeline), where.stop)
    try:
        killed = _work(todo, task, where, progress)
    except StartError as error:
        states = Counter(result.state for result in done.values())
        return journal.save(replace(job, counts=dict(states)).finish(FAILURE, str(error)))
    states = Counter(result.state for result in done.values())
    job = replace(job, counts=dict(states), finished=time.time())
    if killed:
        return journal.save(replace(job, state=KILLED, reason=f"jobTimeout of {pipeline.job_timeout:g} s"))
    if reason := failure_reason([done[datum.id] for datum in wanted]):
        return journal.save(replace(job, state=FAILURE, reason=reason))
    folder.settle([done[datum.id] for datum in wanted])
    files = _files(repo, folder, before, done.values())
    force_to_disk(path for path, _ in files.values() if path.parent == folder.outputs)
    repo.publish(job.number, job.id, files)
    job = journal.save(replace(job, state=SUCCESS))
    folder.drop_outputs()
    return job


def _resume(wanted: Sequence[Datum], folder: JobFolder) -> dict[str, Result]:
    """Datums of this job that a runner finished before it died."""
    known = folder.results()
    return {datum.id: known[datum.id] for datum in wanted if _is_done(known.get(datum.id), datum, folder)}


def _skip(wanted: Sequence[Datum], earlier: Mapping[str, Result], folder: JobFolder) -> dict[str, Result]:
    """Datums that an earlier job has done and that have not changed; they are noted in this job's folder."""
    skipped = [
        replace(earlier[datum.id], state=SKIPPED, label=datum.label, tries=0, seconds=0.0, start=0.0)
        for datum in wanted
        if datum.id in earlier and earlier[datum.id].hash == datum.hash
    ]
    folder.append(skipped)
    return {result.id: result for result in skipped}


def base_results(journal: Journal, repo: Repo, before: Job | None, pipeline: Pipeline) -> dict[str, Result]:
    """Datums that need not be done again while they stay as they are, and while what they wrote is there."""
    if before is None or pipeline.every_job:
        return {}
    earlier = repo.commit(before.number)
    return {
        name: result
        for name, result in journal.of(before.number).results().items()
        if result.state in (PROCESSED, SKIPPED)
        and all(earlier.files.get(path) == file and earlier.holds(path) for path, file in result.outputs.items())
    }


def _is_done(result: Result | None, datum: Datum, folder: JobFolder) -> bool:
    return (
        result is not None
        and result.state == PROCESSED
        and result.hash == datum.hash
        and all(
            is_whole(folder.output(datum.id, index), file)
            for index, (_, file) in enumerate(sorted(result.outputs.items()))
        )
    )


def _deadline(pipeline: Pipeline) -> float | None:
    return None if pipeline.job_timeout is None else time.monotonic() + pipeline.job_timeout


class _Progress:
    """Writes down each result as it comes, from whichever thread, and tells whoever watches."""

    def __init__(self, folder: JobFolder, name: str, total: int, done: dict[str, Result], watch: Watch) -> None:
        self._folder, self._name, self._total, self._done, self._watch = folder, name, total, done, watch
        self._lock = threading.Lock()
        self._counts = Counter(result.state for result in done.values())
        watch(name, total, self._counts)

    def add(self, result: Result) -> None:
        with self._lock:
            self._folder.append([result])
            self._done[result.id] = result
            self._counts[result.state] += 1
            self._watch(self._name, self._total, self._counts)


def _work(todo: Sequence[Datum], task: Task, where: Workplace, progress: _Progress) -> bool:
    """Lets workers do the datums. Returns whether the job's time ran out. Raises what a worker raises."""
    pipeline = task.pipeline
    if not todo:
        if pipeline.transform.datum_batching:
            # A cluster gives each job a set without datums, for which it starts the process too.
            list(Worker(task, f"{pipeline.name}-0", where.work).work([]))
        return False
    sets: queue.SimpleQueue[list[Datum]] = queue.SimpleQueue()
    for datum_set in cut_into_sets(todo, pipeline, pipeline.workers):
        sets.put(datum_set)
    count = min(room_for(pipeline, where.cpus, where.most), sets.qsize())
    give_up = threading.Event()

    def work(index: int) -> None:
        worker = Worker(task, f"{pipeline.name}-{index}", where.work)
        while not give_up.is_set():
            try:
                datum_set = sets.get_nowait()
            except queue.Empty:
                return
            try:
                for result in worker.work(datum_set):
                    progress.add(result)
            except BaseException:
                give_up.set()
                raise

    with futures.ThreadPoolExecutor(count) as pool:
        running = [pool.submit(work, index) for index in range(count)]
        futures.wait(running)
    problems = [problem for future in running if (problem := future.exception())]
    others = [problem for problem in problems if not isinstance(problem, JobOverdueError)]
    if others:
        raise others[0]
    return bool(problems)


def room_for(pipeline: Pipeline, cpus: int, most: int | None) -> int:
    """How many workers of the pipeline fit on so many CPUs, at most `most`."""
    # A pod that asks for more CPUs than are free waits; so does a worker here. One always fits.
    room = most or (max(1, int(cpus / pipeline.cpus)) if pipeline.cpus else pipeline.workers)
    return min(pipeline.workers, room)


def failure_reason(done: Sequence[Result]) -> str:
    """Why the job fails; empty if it does not."""
    failed = [result for result in done if result.state == FAILED]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return f"datum {failed[0].label}{more} failed: {failed[0].error}"
    writers: dict[str, Result] = {}
    for result in done:
        for path in result.outputs:
            if path in writers:
                return f"duplicate path output by different datums: {path} by {writers[path].label} and {result.label}"
            writers[path] = result
    folder = collision(writers)
    return f"file / directory path collision: {folder} is both" if folder else ""


def _files(
    repo: Repo, folder: JobFolder, before: Job | None, results: Iterable[Result]
) -> dict[str, tuple[Path, File]]:
    """Where the content of each file of the output commit is: in the base's commit if skipped, else new."""
    earlier = repo.commit(before.number) if before else None
    files: dict[str, tuple[Path, File]] = {}
    for result in results:
        for index, (path, file) in enumerate(sorted(result.outputs.items())):
            if result.state == SKIPPED and earlier:
                files[path] = earlier.path_of(path), file
            else:
                files[path] = folder.output(result.id, index), file
    return files


def log_line(job: Job) -> None:
    """The job in one line of the log."""
    counts = " ".join(f"{state}={count}" for state, count in sorted(job.counts.items())) or "datums=0"
    level = logging.INFO if job.state == SUCCESS else logging.ERROR
    reason = f": {job.reason}" if job.reason else ""
    logging.log(level, "%s job %d %s %s%s", job.pipeline, job.number, job.state, counts, reason)
