"""A worker: takes sets of datums and tries each as often as its spec says."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from pachyderm.local.datums import Datum
from pachyderm.local.store.files import File
from pachyderm.local.store.folder import JobFolder
from pachyderm.local.store.results import FAILED, PROCESSED, RECOVERED, Result
from pachyderm.local.worker.batched import BatchedProcess, last_line
from pachyderm.local.worker.batching import PrematureExitError
from pachyderm.local.worker.mapping import LocalMapping, command, path_map, secret_values, translate, worker_environment
from pachyderm.local.worker.outputs import OutputError, collect
from pachyderm.local.worker.process import CommandError, Launcher, OverdueError, ProcessSpec
from pachyderm.local.worker.redaction import Redaction
from pachyderm.local.worker.scratch import Layout, Scratch, remove_environment, repoint, write_environment
from pachyderm.spec.reading import Pipeline

GRPC_PORT = "1080"
# The image's own folder holds the stages; here it is the one that holds this package.
_PACKAGES = Path(str(resources.files("pachyderm"))).parent


@dataclass(frozen=True, slots=True)
class Task:
    """What all workers of a job share.

    Attributes:
        folder: of the job; its `outputs` and `logs` are written.
        deadline: of the job, in time.monotonic's seconds, or None.
        stop: set when the runner is to end.

    """

    pipeline: Pipeline
    mapping: LocalMapping
    folder: JobFolder
    job_id: str
    deadline: float | None
    stop: threading.Event


class JobOverdueError(Exception):
    """The job's own time is over."""


class Worker:
    """One of a job's workers: one datum at a time, in a folder of its own."""

    def __init__(self, task: Task, name: str, work: Path) -> None:
        """Raises PachydermError if a secret is missing."""
        self._task = task
        self._name = name
        self._pfs = work / name / "pfs"
        empty = work / name / "empty"
        for folder in (self._pfs, empty, task.folder.outputs, task.folder.log("").parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._paths = path_map(task.pipeline, task.mapping, self._pfs, empty)
        self._seen_as = Path("/pfs") if task.mapping.real_pfs else self._pfs.absolute()
        self._layout = Layout(self._pfs, self._seen_as)
        names = {
            "PACH_JOB_ID": task.job_id,
            "PACH_OUTPUT_COMMIT_ID": task.job_id,
            "PPS_POD_NAME": name,
            "PPS_WORKER_GRPC_PORT": GRPC_PORT,
        }
        self._environment = worker_environment(task.pipeline, task.mapping, self._paths, names)
        self._redaction = Redaction(self._environment, secret_values(task.pipeline, task.mapping))
        self._last_environment = self._environment
        # Resolved: `sockets` is a link where the root's own path is too long for a socket's.
        socket = (work / "sockets").resolve() / name
        self._launcher = Launcher(self._pfs.absolute() if task.mapping.real_pfs else None)
        log = task.folder.log(f".{name}")
        self._batched = BatchedProcess(self._batched_command, self._launcher, socket, log, self._redaction)

    def work(self, datums: Sequence[Datum]) -> Iterator[Result]:
        """Does the datums of a set. Raises StoppedError, JobOverdueError when the job's time is over, StartError."""
        try:
            if not datums and self._task.pipeline.transform.datum_batching:
                self._batched.session(self._task.deadline, self._task.stop)
            for datum in datums:
                yield self._datum(datum)
        finally:
            self._batched.end_set()
            self._launcher.end()
            self._layout.clear()

    def _datum(self, datum: Datum) -> Result:
        began, starts = time.monotonic(), self._batched.start_seconds
        state, tries, outputs, error = FAILED, 0, {}, ""
        while state == FAILED and tries < self._task.pipeline.tries:
            tries += 1
            try:
                outputs = self._try(datum)
                state, error = PROCESSED, ""
            except OutputError as refused:
                # No retry: what a repo does not take today it will not take tomorrow.
                error = str(refused)
                break
            except _TryError as failed:
                error = str(failed)
                if self._run_error_command(datum) and tries == self._task.pipeline.tries:
                    state = RECOVERED
            finally:
                remove_environment(self._pfs)
                self._redaction.file(self._log(datum))
        if error:
            error = self._redaction.text(f"{error}: {line}" if (line := self._last_line(datum)) else error)
        seconds = round(time.monotonic() - began, 3)
        start = round(self._batched.start_seconds - starts, 3)
        return Result(datum.id, datum.hash, datum.label, state, tries, seconds, outputs, error, start, datum.size)

    def _try(self, datum: Datum) -> dict[str, File]:
        """Lets user code do the datum once. Returns the files it wrote. Raises _TryError, OutputError."""
        try:
            batched = self._task.pipeline.transform.datum_batching
            scratch = self._batched_try(datum) if batched else self._single_try(datum)
        except CommandError as impossible:
            raise _TryError(str(impossible)) from impossible
        if self._task.mapping.real_pfs:
            repoint(scratch.folder, self._seen_as, self._pfs.absolute())
        return collect(scratch, partial(self._task.folder.output, datum.id))

    def _single_try(self, datum: Datum) -> Scratch:
        """A process of its own for one datum."""
        transform = self._task.pipeline.transform
        scratch, environment = self._lay_out(datum)
        if not transform.cmd:
            raise _TryError("no command specified")
        self._launcher.start(self._start(transform.cmd, transform.stdin, environment, self._log(datum)))
        deadline = self._datum_deadline()
        try:
            code = self._launcher.wait(deadline, self._task.stop)
        except OverdueError as overdue:
            raise self._timeout_error(deadline) from overdue
        finally:
            self._launcher.stop()
        if code != 0 and code not in transform.accept_return_code:
            raise _TryError(f"killed by signal {-code}" if code < 0 else f"exit code {code}")
        return scratch

    def _batched_try(self, datum: Datum) -> Scratch:
        """The next datum for the process that runs already, or a new one after a failure."""
        deadline: float | None = self._task.deadline
        try:
            session = self._batched.session(deadline, self._task.stop)
            scratch, environment = self._lay_out(datum, session.address)
            deadline = self._datum_deadline()
            session.hand_out([f"{name}={value}" for name, value in environment.items()])
            if reported := session.next_call(deadline, self._task.stop):
                raise _TryError(reported)
        except PrematureExitError as gone:
            self._batched.end()
            raise _TryError(str(gone)) from gone
        except OverdueError as overdue:
            self._batched.end()
            raise self._timeout_error(deadline) from overdue
        except _TryError:
            self._batched.end()
            raise
        finally:
            self._batched.share_log(self._log(datum))
        return scratch

    def _lay_out(self, datum: Datum, more: Mapping[str, str] | None = None) -> tuple[Scratch, dict[str, str]]:
        scratch = self._layout.lay_out(datum)
        environment = {**self._environment, **scratch.environment, **(more or {})}
        if not self._task.pipeline.transform.datum_batching:
            environment["FILESET_ID"] = datum.hash[:32]
        write_environment(self._pfs, environment)
        self._last_environment = environment
        return scratch, environment

    def _run_error_command(self, datum: Datum) -> bool:
        """Runs errCmd where there is one; whether it has recovered the datum."""
        transform = self._task.pipeline.transform
        if not transform.err_cmd:
            return False
        command = self._start(transform.err_cmd, transform.err_stdin, self._last_environment, self._log(datum))
        try:
            self._launcher.start(command)
        except CommandError:
            return False
        try:
            return self._launcher.wait(self._datum_deadline(), self._task.stop) == 0
        except OverdueError:
            return False
        finally:
            self._launcher.stop()

    def _batched_command(self, log: Path) -> ProcessSpec:
        transform = self._task.pipeline.transform
        return self._start(transform.cmd, transform.stdin, self._environment, log)

    def _start(
        self, words: Sequence[str], stdin: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> ProcessSpec:
        folder = self._task.pipeline.transform.working_dir
        return ProcessSpec(
            words=command(words, self._paths),
            environment=environment,
            folder=Path(translate(folder, self._paths)) if folder else _PACKAGES,
            stdin="".join(f"{translate(line, self._paths)}\n" for line in stdin) if stdin else None,
            log=log,
        )

    def _datum_deadline(self) -> float | None:
        limits = [self._task.deadline] if self._task.deadline is not None else []
        if self._task.pipeline.datum_timeout is not None:
            limits.append(time.monotonic() + self._task.pipeline.datum_timeout)
        return min(limits, default=None)

    def _timeout_error(self, deadline: float | None) -> Exception:
        if self._task.deadline is not None and deadline is not None and deadline >= self._task.deadline:
            return JobOverdueError()
        return _TryError(f"timed out after {self._task.pipeline.datum_timeout:g} s")

    def _log(self, datum: Datum) -> Path:
        return self._task.folder.log(datum.id)

    def _last_line(self, datum: Datum) -> str:
        return last_line(self._log(datum))


class _TryError(Exception):
    """A try failed; the datum may be tried again."""
