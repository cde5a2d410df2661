"""A CSV that comes from a pipe, and answers that go into one."""

import io
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from runtime.errors import InputError
from runtime.os_errors import describe
from stages.answering.rows import AnswerJob, Counts
from stages.answering.stream import File, Stream
from stages.common.files import name_errors
from stages.common.progress import Progress

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def answer_stdin(job: AnswerJob) -> tuple[Counts, float, bool]:
    """Answers the CSV on stdin, to stdout. Returns the counts, the seconds, and whether all of it was answered."""
    counts, failures = Counts(), []

    def fail(file: File, error: InputError | OSError) -> None:
        logging.error("%s: %s", file.name, describe(error))
        failures.append(file.name)

    with Progress(0) as progress, Stdout() as output, name_errors("stdout"):
        file = File("stdin", Path("/dev/stdin"), Path("/dev/stdout"), stream=cast("BinaryIO", output))
        Stream(job, counts, progress, lambda *_: None, fail).run([file])
    return counts, progress.seconds, not failures


class Stdout(io.RawIOBase):
    """Stdout as a file that knows how much was written to it, which a pipe does not."""

    def __init__(self) -> None:
        self._size = 0

    def writable(self) -> bool:
        """It is there to be written."""
        return True

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def write(self, data: "ReadableBuffer") -> int:
        """Writes all of it."""
        sys.stdout.buffer.write(data)
        self._size += len(memoryview(data))
        return len(memoryview(data))

    def flush(self) -> None:
        """Lets whoever reads the pipe have it."""
        sys.stdout.buffer.flush()
