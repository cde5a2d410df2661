"""A file per task on a Dask cluster; each worker loads the model once.

Workers see INPUT and OUTPUT under the same paths, or take both from fsspec URLs. A task that is lost with its worker
runs again elsewhere: a file appears when it is whole, so that what the first one left does no harm.
"""

import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

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

    def run(self, files: Iterator[File | RemoteFile], counts: Counts, progress: Progress, finish: Finish) -> None:
        """Answers all files; `finish` is told of each. Raises AnswermillError if there is no cluster."""
        with self._client() as client:
            from distributed import as_completed

            client.register_plugin(model_plugin(self._load, self._options))
            tasks = {client.submit(answer_file, task_of(file), pure=False, retries=RETRIES): file for file in files}
            for task in as_completed(list(tasks)):
                file = tasks.pop(task)
                answered = outcome(task)
                counts.merge(answered.counts)
                progress.advance(_size(file), answered.counts.rows, answered.counts.errors.total())
                finish(file, answered.error, answered.digest)

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            from distributed import Client, LocalCluster
            from distributed.security import Security
        except ModuleNotFoundError as error:
            raise AnswermillError("Dask is not installed; pip install 'answermill[dask]'") from error
        # Dask logs every connection that opens or closes.
        logging.getLogger("distributed").setLevel(logging.ERROR)
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
                raise AnswermillError(f"no Dask scheduler at {safe_url(self._address)}: {reason}") from error
            yield client


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
    """What goes to the worker: old answers lie on this machine."""
    return replace(file, known=None) if isinstance(file, File) else file


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


def model_plugin(load: Callable[[AnswerOptions], AnswerJob], options: AnswerOptions) -> Any:
    """What loads the model when a worker starts. A thread a task: Dask runs as many tasks as the worker has threads."""
    from distributed import WorkerPlugin

    class Model(WorkerPlugin):
        """The bundle of one worker."""

        name = _JOB

        def setup(self, worker: Any) -> None:
            """Loads it."""
            setattr(worker, _JOB, load(replace(options, threads=1)))

    return Model()


def answer_file(file: File | RemoteFile) -> Outcome:
    """Answers one file on a worker."""
    from distributed import get_worker

    job: AnswerJob = getattr(get_worker(), _JOB)
    if isinstance(file, RemoteFile):
        return answer_remote(file, job)
    return answer_one(file, job)
