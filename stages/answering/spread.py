"""A file per task on a Dask cluster; each worker loads the model once.

Workers see INPUT and OUTPUT under the same paths, or take both from fsspec URLs. A task that is lost with its worker
runs again elsewhere: a file appears when it is whole, so that what the first one left does no harm.
"""

import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from runtime.command import version
from runtime.cpu import available_cpus
from runtime.errors import AnswermillError, InputError
from runtime.quoting import safe_url, without_secrets
from stages.answering.options import AnswerOptions
from stages.answering.remote import Outcome, RemoteFile, answer_one, answer_remote
from stages.answering.rows import AnswerJob, Counts
from stages.answering.stream import File
from stages.common.files import size_of
from stages.common.progress import Progress

LOCAL = "local"
# Times that a task runs again after an error; a worker that dies counts apart, and Dask allows three of these.
RETRIES = 3
_JOB = "answermill_job"


Finish = Callable[[Any, InputError | OSError | None, str], object]


class DaskSpread:
    """Answers files on a cluster: what a run takes in place of a stream of its own."""

    def __init__(self, address: str, load: Callable[[AnswerOptions], AnswerJob], options: AnswerOptions) -> None:
        """`load` must be a function that a worker can import."""
        self._address, self._load, self._options = address, load, options
        self._place = safe_url(address)

    def run(
        self, files: Iterator[File | RemoteFile], job: AnswerJob, counts: Counts, progress: Progress, finish: Finish
    ) -> None:
        """Answers all files; `finish` is told of each.

        Raises AnswermillError if there is no cluster, if it is lost, and if a worker would answer otherwise than `job`.
        """
        with self._client() as client:
            from distributed import as_completed

            self._prepare(client, job)
            tasks = {client.submit(answer_file, task_of(file), pure=False, retries=RETRIES): file for file in files}
            for task in as_completed(list(tasks)):
                file = tasks.pop(task)
                answered = outcome(task)
                counts.merge(answered.counts)
                progress.advance(_size(file), answered.counts.rows, answered.counts.errors.total())
                finish(file, answered.error, answered.digest)

    def _prepare(self, client: Any, job: AnswerJob) -> None:
        """Loads the bundle on each worker, and on those that will come. Raises AnswermillError."""
        if not client.scheduler_info(n_workers=1)["workers"]:
            logging.warning("%s: this scheduler has no worker; waiting for one", self._place)
        try:
            client.register_plugin(model_plugin(self._load, self._options, identity(job)))
        except AnswermillError as error:
            raise AnswermillError(f"{self._place}: {error}") from error
        except Exception as error:  # what a worker without Answermill, or with an older one, makes of the request
            raise AnswermillError(
                f"{self._place}: a worker cannot take the work ({type(error).__name__}); install this machine's "
                "Answermill on every worker, and start them again"
            ) from error

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            from distributed import Client, LocalCluster
            from distributed.security import Security
        except ModuleNotFoundError as error:
            raise AnswermillError("Dask is not installed; pip install 'answermill[dask]'") from error
        # Dask logs every connection that opens or closes, and one that breaks with a traceback.
        for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with contextlib.ExitStack() as stack:
            address: Any = self._address
            if address == LOCAL:
                workers = self._options.threads or available_cpus()
                # Whoever may speak to a scheduler runs code as its user; only our own processes have these keys.
                secured = {"security": Security.temporary(), "protocol": "tls://", "dashboard_address": None}
                # An interrupted run leaves Dask's semaphores to Python's tracker, which would warn of them.
                sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
                with _signals_later():
                    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, **secured)
                address = stack.enter_context(cluster)
            try:
                client = stack.enter_context(Client(address))
            except (OSError, ValueError) as error:
                reason = without_secrets(str(error), self._address)
                raise AnswermillError(f"no Dask scheduler at {self._place}: {reason}") from error
            try:
                yield client
            except CancelledError as error:
                raise AnswermillError(
                    f"{self._place}: the Dask scheduler was lost; start it, and run again: whole files stay as they are"
                ) from error


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Lets SIGINT and SIGTERM wait, since half a cluster cannot be closed; processes that start here get no SIGINT.

    Ctrl-C reaches them too, and each would write a traceback. They end with this process.
    """
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def task_of(file: File | RemoteFile) -> File | RemoteFile:
    """What goes to the worker: old answers lie on this machine, and what paths are relative to may be another place."""
    if isinstance(file, RemoteFile):
        return file
    partial = file.partial and file.partial.absolute()
    return replace(file, known=None, source=file.source.absolute(), target=file.target.absolute(), partial=partial)


def outcome(task: Any) -> Outcome:
    """What a task has returned or, of one that failed each time, its last error."""
    error = task.exception()
    if error is None:
        answered: Outcome = task.result()
        return answered
    # A file's own errors are OSErrors and hold no secret; of others, as of a killed worker, that is not known.
    reason = str(error) if isinstance(error, OSError) else type(error).__name__
    return Outcome(Counts(), OSError(f"{reason}; it was tried {RETRIES + 1} times, and the workers' logs say more"))


def _size(file: File | RemoteFile) -> int:
    return size_of(file.source) if isinstance(file, File) else file.size


def identity(job: AnswerJob) -> dict[str, str]:
    """What answers depend on besides the row and the options: the bundle, and the code that reads it."""
    packages = {name: metadata.version(name) for name in ("onnxruntime", "polars", "tokenizers")}
    return {"bundle": job.model, "answermill": version(), **packages}


def _same_job(job: AnswerJob, wanted: Mapping[str, str]) -> AnswerJob:
    """The job. Raises AnswermillError if it would answer otherwise than the client's."""
    there = identity(job)
    for name, value in wanted.items():
        if there.get(name) != value:
            raise AnswermillError(
                f"its {name} is {there.get(name)} and the client's is {value}, so answers would differ"
            )
    return job


def model_plugin(load: Callable[[AnswerOptions], AnswerJob], options: AnswerOptions, wanted: Mapping[str, str]) -> Any:
    """What loads the model when a worker starts. A thread a task: Dask runs as many tasks as the worker has threads."""
    from distributed import WorkerPlugin

    model = Path(options.model).absolute()

    class Model(WorkerPlugin):
        """The bundle of one worker."""

        name = _JOB

        def setup(self, worker: Any) -> None:
            """Loads it. Raises AnswermillError if it is not there, or would answer otherwise than the client."""
            try:
                job: AnswerJob | AnswermillError = _same_job(load(replace(options, threads=1, model=model)), wanted)
            except AnswermillError as error:
                job = AnswermillError(f"worker {worker.address}: {error}; every worker needs the client's own")
            # A worker that comes later says it when it is asked for answers.
            setattr(worker, _JOB, job)
            if isinstance(job, AnswermillError):
                raise job

    return Model()


def answer_file(file: File | RemoteFile) -> Outcome:
    """Answers one file on a worker."""
    from distributed import get_worker

    job: AnswerJob | AnswermillError = getattr(get_worker(), _JOB)
    if isinstance(job, AnswermillError):
        raise OSError(str(job))
    if isinstance(file, RemoteFile):
        return answer_remote(file, job)
    return answer_one(file, job)
