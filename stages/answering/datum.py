"""A datum of Pachyderm's: a folder of CSVs, and an output that starts empty."""

import errno
import json
import logging
from pathlib import Path

from runtime.errors import InputError
from runtime.os_errors import describe
from stages.answering.formats import target_name
from stages.answering.rows import AnswerJob, Counts
from stages.answering.stream import File, Stream
from stages.answering.summary import log_counts
from stages.common.files import csv_files, size_of, whole_file
from stages.common.names import note_path, origin_of
from stages.common.progress import Progress
from stages.common.rejections import note_of


def answer_datum(job: AnswerJob, source: Path, output: Path) -> dict[str, str]:
    """Answers a datum of Pachyderm's, whose output starts empty. Returns what could not be read or written.

    A CSV that breaks a rule must not hold up the others at every try: it is named in `rejected`.
    """
    files, counts, failures = csv_files(source), Counts(), {}

    def fail(file: File, error: InputError | OSError) -> None:
        if isinstance(error, OSError) and file.source.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
            # Otherwise every try of the datum would fail.
            error = InputError("a link that leads to no file", remedy="put a file in its place, or remove it")
        reason = f"{file.name}: {describe(error)}"
        logging.error("%s", reason)
        if isinstance(error, InputError):
            reject(output, file.name, error)
        else:
            failures[file.name] = reason

    with Progress(sum(size_of(path) for path in files.values())) as progress:
        stream = Stream(job, counts, progress, lambda *_: None, fail)
        stream.run(File(name, path, output / target_name(name, job.format)) for name, path in files.items())
    log_counts(job.model, counts, progress.seconds, list(files))
    return failures


def reject(output: Path, name: str, error: InputError) -> None:
    """Writes why a CSV was not answered, in the form that ingest gives its own."""
    note = note_of(origin_of(name), error)
    with whole_file(output / note_path(name)) as file:
        file.write(json.dumps(note, ensure_ascii=True, indent=1).encode() + b"\n")
