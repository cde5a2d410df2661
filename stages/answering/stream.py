"""All files as one stream of rows, so that no thread idles at a file's end; each file appears with its last row."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from runtime.errors import InputError
from stages.answering.formats import open_answers, write_csv, write_ndjson
from stages.answering.reuse import OldAnswers
from stages.answering.rows import AnswerJob, Counts, Ranked, renames, with_answers, without_weak
from stages.common.progress import Progress

if TYPE_CHECKING:
    from hashlib import _Hash

    import polars as pl

    from runtime.answer import Answer

# Rows that are written at a time. A killed run answers again what it had not written: a second's work.
BLOCK_ROWS = 64
# Bytes of rows whose answers are known, and which wait for one before them that is sought. A row on top of a file of
# 160 MB that was answered otherwise held all of it in memory.
AHEAD = 4 << 20
# What the answerer is given in the place of such rows, so that it hands out the answer that they wait for.
_FILLER = ("", "")
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A CSV to answer.

    Attributes:
        name: its path below INPUT.
        source: where it lies.
        target: where its answers go.
        known: answers that need not be sought again.
        partial: where they lie until they are complete, and stay if the run is interrupted.
        stream: takes the answers instead of `target`, as they come.

    """

    name: str
    source: Path
    target: Path
    known: OldAnswers | None = None
    partial: Path | None = None
    stream: BinaryIO | None = None


@dataclass(slots=True)
class _Block:
    file: File
    frame: "pl.DataFrame"
    size: int
    answers: list[Ranked | None]
    missing: int
    known: int = 0
    reused: int = 0

    @property
    def known_bytes(self) -> float:
        """About what the rows take whose answers are known without the model."""
        return self.size * self.known / max(1, self.frame.height)


@dataclass(slots=True)
class _End:
    file: File
    error: InputError | OSError | None = None
    digest: str = ""


class Stream:
    """Answers files one after another; calls `done` for each file that is whole, `failed` for each that broke a rule.

    `done` is also told the sha256 of the bytes that were answered: somebody may have replaced the file meanwhile.

    Rows are drawn and written by one thread: the answerer draws `_pairs` whenever it has room, and `run` writes what
    stands at the head of the line.
    """

    def __init__(
        self,
        job: AnswerJob,
        counts: Counts,
        progress: Progress,
        done: Callable[[File, str], None],
        failed: Callable[[File, InputError | OSError], None],
    ) -> None:
        self._job, self._counts, self._progress = job, counts, progress
        self._done, self._failed = done, failed
        self._line: deque[_Block | _End] = deque()
        # None for a filler.
        self._rows: deque[tuple[_Block, int] | None] = deque()
        self._ahead = 0.0
        self._output: tuple[File, BinaryIO, ExitStack] | None = None

    def run(self, files: Iterable[File]) -> None:
        """Answers all files."""
        try:
            for ranked in self._job.answerer.rank(self._pairs(files), self._job.decoding):
                if not (place := self._rows.popleft()):
                    continue
                block, row = place
                block.answers[row] = without_weak(ranked, self._job.least)
                block.missing -= 1
                self._progress.advance(block.size / block.frame.height, 1, bool(ranked[0].error))
                self._write()
            self._write()
        except BaseException as error:
            self._close(error)
            raise

    def _pairs(self, files: Iterable[File]) -> Iterator[tuple[str | None, str | None]]:
        """The rows whose answers nobody knows."""
        for file in files:
            digest = hashlib.sha256()
            try:
                for block in self._blocks(file, digest):
                    self._line.append(block)
                    frame = block.frame
                    pairs = zip(frame[self._job.columns.question], frame[self._job.columns.context], strict=True)
                    for row, (question, context) in enumerate(pairs):
                        if known := self._old_answer(file, question, context):
                            self._settle(block, row, known)
                            continue
                        self._rows.append((block, row))
                        yield question, context
                    # A file whose answers are all known must not pile up.
                    self._ahead += block.known_bytes
                    self._write()
                    while self._ahead > AHEAD:
                        self._rows.append(None)
                        yield _FILLER
            except (InputError, OSError) as error:
                # Only what reading raised: the answerer draws this, and raises its own errors elsewhere.
                self._line.append(_End(file, error))
            else:
                self._line.append(_End(file, digest=digest.hexdigest()))

    def _blocks(self, file: File, digest: "_Hash") -> Iterator[_Block]:
        from stages.csvs.reader import open_source

        with open_source(file.source) as stream:
            yield from self._blocks_of(file, stream, digest)
            # Behind a --limit; of stdin nobody wants to know the digest, and it may never end.
            while not file.stream and (data := stream.read(_READ_BYTES)):
                digest.update(data)

    def _blocks_of(self, file: File, stream: BufferedReader, digest: "_Hash") -> Iterator[_Block]:
        from stages.csvs.reader import frames_of

        columns = self._job.columns
        given: dict[str, str] | None = None
        limit = self._job.limit
        for frame, size in frames_of(stream, (columns.question, columns.context), BLOCK_ROWS, digest):
            if given is None:
                given = renames(frame.columns, columns)
                if given:
                    logging.info(
                        "%s: columns renamed: %s", file.name, ", ".join(f"{a} -> {b}" for a, b in given.items())
                    )
            part = frame.rename(given) if given else frame
            if limit is not None:
                part, limit = part.head(limit), max(0, limit - part.height)
            yield _Block(file, part, size, [None] * part.height, part.height)
            if limit == 0:
                return

    def _old_answer(self, file: File, question: str | None, context: str | None) -> "Answer | None":
        """The answer that the model is not needed for."""
        if error := self._job.refusal(question, context):
            from runtime.answer import Answer

            return Answer.failure(error)
        return file.known.get(question, context) if file.known is not None else None

    def _settle(self, block: _Block, row: int, answer: "Answer") -> None:
        block.answers[row] = [answer]
        block.missing -= 1
        block.known += 1
        block.reused += not answer.error
        self._progress.advance(block.size / block.frame.height, 1, bool(answer.error))

    def _write(self) -> None:
        """Writes what stands at the head of the line and is complete."""
        while self._line:
            head = self._line[0]
            if isinstance(head, _Block):
                if head.missing:
                    return
                self._write_block(head)
            else:
                self._end(head)
            self._line.popleft()

    def _write_block(self, block: _Block) -> None:
        if self._output is None:
            stack = ExitStack()
            stream = block.file.stream
            output: AbstractContextManager[BinaryIO] = (
                nullcontext(stream)
                if stream
                else open_answers(block.file.target, block.file.partial, self._job.columns, self._job.format)
            )
            file = stack.enter_context(output)
            self._output = block.file, file, stack
        file = self._output[1]
        write = write_ndjson if block.file.stream and self._job.format == "ndjson" else write_csv
        answers = [ranked for ranked in block.answers if ranked is not None]
        for part in with_answers(block.frame, answers, self._job.columns, self._job.model):
            write(file, part)
        file.flush()
        # Not str.len_chars, which starts the engine of polars for each block.
        contexts = block.frame[self._job.columns.context]
        lengths = [None if context is None else len(context) for context in contexts]
        self._counts.add([ranked[0] for ranked in answers], lengths, self._job.least)
        self._counts.reused += block.reused
        self._ahead -= block.known_bytes

    def _end(self, end: _End) -> None:
        if end.error is not None:
            self._close(end.error)
            self._failed(end.file, end.error)
            return
        self._close(None)
        self._counts.files += 1
        self._done(end.file, end.digest)

    def _close(self, error: BaseException | None) -> None:
        """Ends the output that is open: whole, or, after an error, as it was."""
        if self._output is None:
            return
        (_, _, stack), self._output = self._output, None
        stack.__exit__(type(error) if error else None, error, None)
