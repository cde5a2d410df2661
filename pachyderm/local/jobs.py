"""One job: which datums are new, the work of the workers, and the output commit that comes of it or does not."""

import logging
import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from pathlib import Path

from pachyderm.local.datums import Datum, datums, in_sets
from pachyderm.local.store import journal
from pachyderm.local.store.journal import FAILURE, KILLED, SUCCESS, Job
from pachyderm.local.store.names import collision
from pachyderm.local.store.repos import Commit, File, commit, publish, unpublish
from pachyderm.local.worker.mapping import Place
from pachyderm.local.worker.worker import FAILED, PROCESSED, SKIPPED, JobOverdueError, Result, Task, Worker
from pachyderm.spec.reading import Pipeline

Watch = Callable[[str, int, Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Workplace:
    """What jobs share.

    Attributes:
        work: folder for what lives no longer than this run.
        most: workers that this machine has room for, whatever a spec says; None for what the spec's CPUs leave.
        watch: told, on every datum, the pipeline's name, the number of datums and how many are in which state.

    """

    root: Path
    work: Path
    place: Place
    cpus: int
    most: int | None
    stop: threading.Event
    watch: Watch


def run_job(pipeline: Pipeline, commits: Mapping[str, Commit], job_id: str, salt: str, where: Workplace) -> Job:
    """Runs a pipeline on commits, by repo, and returns the finished job.

    Raises StoppedError, with the job still running in the books, and PachydermError for what no datum can help.
    """
    root = where.root
    numbers = {repo: commit.number for repo, commit in commits.items()}
    job = journal.begin(root, pipeline.name, job_id, numbers, pipeline.digest, salt)
    folder = journal.job_folder(root, pipeline.name, job.number)
    journal.mend(folder)
    unpublish(root, pipeline.name, job.number)
    before = journal.base(root, pipeline.name)
    earlier = _base_results(root, before, pipeline)
    wanted = datums(pipeline, commits, salt)
    known = journal.results(folder)
    done = {datum.id: known[datum.id] for datum in wanted if _is_done(known.get(datum.id), datum, folder)}
    skipped = [
        replace(earlier[datum.id], state=SKIPPED, label=datum.label, tries=0, seconds=0.0)
        for datum in wanted
        if datum.id not in done and datum.id in earlier and earlier[datum.id].hash == datum.hash
    ]
    journal.append(folder, skipped)
    done |= {result.id: result for result in skipped}
    todo = [datum for datum in wanted if datum.id not in done]
    progress = _Progress(folder, pipeline.name, len(wanted), done, where.watch)
    killed = _work(todo, Task(pipeline, where.place, folder, job.id, _deadline(pipeline), where.stop), where, progress)
    states = Counter(result.state for result in done.values())
    job = replace(job, counts=dict(states), finished=time.time())
    if killed:
        return journal.save(root, replace(job, state=KILLED, reason=f"jobTimeout of {pipeline.job_timeout:g} s"))
    if reason := _why_not([done[datum.id] for datum in wanted]):
        return journal.save(root, replace(job, state=FAILURE, reason=reason))
    journal.settle(folder, [done[datum.id] for datum in wanted])
    publish(root, pipeline.name, job.number, job.id, _files(root, pipeline.name, folder, before, done.values()))
    job = journal.save(root, replace(job, state=SUCCESS))
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    return job


def _base_results(root: Path, before: Job | None, pipeline: Pipeline) -> dict[str, Result]:
    """Datums that need not be done again while they stay as they are."""
    if before is None or pipeline.every_job:
        return {}
    found = journal.results(journal.job_folder(root, pipeline.name, before.number))
    return {name: result for name, result in found.items() if result.state in (PROCESSED, SKIPPED)}


def _is_done(result: Result | None, datum: Datum, folder: Path) -> bool:
    """Whether a runner that died had finished this datum in this job."""
    return (
        result is not None
        and result.state == PROCESSED
        and result.hash == datum.hash
        and (folder / "outputs" / datum.id).is_dir()
    )


def _deadline(pipeline: Pipeline) -> float | None:
    return None if pipeline.job_timeout is None else time.monotonic() + pipeline.job_timeout


class _Progress:
    """Writes down each result as it comes, from whichever thread, and tells whoever watches."""

    def __init__(self, folder: Path, name: str, total: int, done: dict[str, Result], watch: Watch) -> None:
        self._folder, self._name, self._total, self._done, self._watch = folder, name, total, done, watch
        self._lock = threading.Lock()
        self._counts = Counter(result.state for result in done.values())
        watch(name, total, self._counts)

    def add(self, result: Result) -> None:
        with self._lock:
            journal.append(self._folder, [result])
            self._done[result.id] = result
            self._counts[result.state] += 1
            self._watch(self._name, self._total, self._counts)


def _work(todo: Sequence[Datum], task: Task, where: Workplace, progress: _Progress) -> bool:
    """Lets workers do the datums. Returns whether the job's time ran out. Raises what a worker raises."""
    if not todo:
        return False
    pipeline = task.pipeline
    sets: queue.SimpleQueue[list[Datum]] = queue.SimpleQueue()
    for datum_set in in_sets(todo, pipeline, pipeline.workers):
        sets.put(datum_set)
    # A pod that asks for more CPUs than are free waits; so does a worker here. One always fits.
    room = where.most or (max(1, int(where.cpus / pipeline.cpus)) if pipeline.cpus else pipeline.workers)
    count = min(pipeline.workers, room, sets.qsize())
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


def _why_not(done: Sequence[Result]) -> str:
    """Why the job fails, or nothing."""
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
    root: Path, name: str, folder: Path, before: Job | None, done: Iterable[Result]
) -> dict[str, tuple[Path, File]]:
    """Where the content of each file of the output commit is: in the base's commit if skipped, else new."""
    earlier = commit(root, name, before.number) if before else None
    files: dict[str, tuple[Path, File]] = {}
    for result in done:
        for path, file in result.outputs.items():
            if result.state == SKIPPED and earlier:
                files[path] = earlier.place(path), file
            else:
                files[path] = folder / "outputs" / result.id / path[1:], file
    return files


def log_line(job: Job) -> None:
    """The job in one line of the log."""
    counts = " ".join(f"{state}={count}" for state, count in sorted(job.counts.items())) or "datums=0"
    level = logging.INFO if job.state == SUCCESS else logging.ERROR
    reason = f": {job.reason}" if job.reason else ""
    logging.log(level, "%s job %d %s %s%s", job.pipeline, job.number, job.state, counts, reason)
