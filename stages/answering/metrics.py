"""The figures of a run: Prometheus' text format while it goes on, and a record of it beside its output."""

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command import version
from runtime.errors import OptionError
from runtime.locks import lock_at
from stages.common.files import open_regular, partial_name, whole_file

if TYPE_CHECKING:
    from stages.answering.options import AnswerOptions
    from stages.answering.rows import AnswerJob, Counts
    from stages.common.progress import Progress

# Seconds between two writings; a collector looks about as often.
EVERY = 15.0
_BEGINNING = b"# TYPE answermill_rows_total counter\n"


@dataclass(frozen=True, slots=True)
class Report:
    """A run that can be reported at any time."""

    job: "AnswerJob"
    counts: "Counts"
    progress: "Progress"
    options: "AnswerOptions"

    def prometheus(self) -> str:
        """The figures so far, as the textfile collector of the node exporter reads them."""
        counts = self.counts
        model = _escape(self.job.model)
        lines = [
            *_metric("rows_total", "counter", counts.rows),
            *_metric("rows_reused_total", "counter", counts.reused),
            *_metric("tokens_total", "counter", counts.tokens),
            *_metric("files_total", "counter", counts.files),
            *_metric("files_unchanged_total", "counter", counts.unchanged),
            *_metric("seconds", "gauge", round(self.progress.seconds, 3)),
            "# TYPE answermill_errors_total counter",
            *(
                f'answermill_errors_total{{kind="{_escape(kind)}"}} {count}'
                for kind, count in sorted(dict(counts.errors).items())
            ),
            "# TYPE answermill_info gauge",
            f'answermill_info{{model="{model}",version="{version()}"}} 1',
        ]
        return "\n".join(lines) + "\n"

    def record(self, finished: bool) -> dict[str, object]:
        """The run as one object: figures, versions, options, machine, model."""
        seconds = self.progress.seconds
        return {
            "finished": finished,
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "rows_per_second": round(self.counts.rows / seconds, 2) if seconds else None,
            # Not asdict, which cannot copy a Counter.
            **{field.name: getattr(self.counts, field.name) for field in fields(self.counts)},
            "model": self.job.model,
            "decoding": asdict(self.job.decoding),
            "threads": self.job.answerer.threads,
            "options": {field.name: _plain(getattr(self.options, field.name)) for field in fields(self.options)},
            "version": version(),
            "python": platform.python_version(),
            "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "architecture": platform.machine()},
        }


def check_metrics(metrics: Path, source: Path, target: Path) -> None:
    """Raises OptionError if the file would replace a CSV, answers, or anything that is not a run's metrics."""
    real = metrics.resolve()
    for name, folder in (("INPUT", source.resolve()), ("OUTPUT", target.resolve())):
        if real == folder or real.is_relative_to(folder):
            raise OptionError(f"--metrics {metrics}: it lies in {name}; choose a file outside of INPUT and OUTPUT")
    if metrics.is_dir():
        raise OptionError(f"--metrics {metrics}: it is a folder; name a file in it, such as {metrics}/answermill.prom")
    if metrics.exists() and not metrics.is_file():
        raise OptionError(f"--metrics {metrics}: it is not a regular file; name another one")
    if metrics.exists():
        with open_regular(metrics) as file:
            beginning = file.read(len(_BEGINNING))
        if not _BEGINNING.startswith(beginning):
            raise OptionError(f"--metrics {metrics}: it holds something else; name another file, or remove this one")


@contextlib.contextmanager
def exclusive_metrics(metrics: Path | None) -> Iterator[None]:
    """Keeps other runs off the file: two of them would take turns in writing it. Raises OptionError."""
    if not metrics:
        yield
        return
    lock = metrics.with_name(f".{partial_name(metrics.name)}.lock")
    try:
        metrics.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        # The error itself names the lock.
        raise OptionError(
            f"--metrics {metrics}: {error.strerror}; name a file in a folder that can be written"
        ) from error
    with file:
        if not lock_at(lock, file.fileno()):
            raise OptionError(
                f"--metrics {metrics}: another run is writing it; give each run, and each part, a file of its own"
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def write_reports(report: Report, metrics: Path | None, record: Path) -> Iterator[None]:
    """Writes the metrics every 15 s and at the end, and the record at the end, also of a run that fails."""
    ended = threading.Event()

    def write_metrics() -> None:
        if metrics:
            with whole_file(metrics) as file:
                file.write(report.prometheus().encode())

    def repeat() -> None:
        while not ended.wait(EVERY):
            # A full disk ends the run where it writes answers, and not here.
            with contextlib.suppress(OSError):
                write_metrics()

    thread = threading.Thread(target=repeat, daemon=True)
    finished = False
    with exclusive_metrics(metrics):
        if metrics:
            # Fails at once if the place cannot be written.
            write_metrics()
            thread.start()
        try:
            yield
            finished = True
        finally:
            ended.set()
            if metrics:
                thread.join()
            # Each by itself: where one cannot be written, the other can.
            with contextlib.suppress(OSError), whole_file(record) as file:
                file.write(json.dumps(report.record(finished), indent=1).encode() + b"\n")
            with contextlib.suppress(OSError):
                write_metrics()


def _metric(name: str, kind: str, value: float) -> tuple[str, str]:
    return f"# TYPE answermill_{name} {kind}", f"answermill_{name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | bool | None) else str(value)
