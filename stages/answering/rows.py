"""The rows of one CSV -> the same rows with answers, in the memory of a few blocks."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import InputError
from stages.common.files import whole_file
from stages.common.progress import Progress
from stages.csvs.columns import ANSWER_COLUMNS, RANK

if TYPE_CHECKING:
    import polars as pl

    from runtime import Answer, Answerer, Decoding

COLUMNS = tuple(ANSWER_COLUMNS)

Ranked = Sequence["Answer"]
# Rows that are written at a time where each is repeated for its ranks.
ROWS_OUT = 512


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that are read, what is put before those that are written, and whether ranks are."""

    question: str
    context: str
    prefix: str
    ranks: bool = False

    @property
    def added(self) -> list[str]:
        """Names of the columns that are written."""
        return [self.prefix + name for name in ((RANK, *COLUMNS) if self.ranks else COLUMNS)]


@dataclass(frozen=True, slots=True)
class Job:
    """How rows are answered: a loaded bundle, its options, the columns, and what an answer must reach to count."""

    answerer: "Answerer"
    decoding: "Decoding"
    columns: Columns
    min_score: float = 0.0
    min_confidence: float = 0.0

    @property
    def model(self) -> str:
        """The bundle's identity, as the column `model` has it."""
        return self.answerer.bundle.manifest.bundle_id


@dataclass(slots=True)
class Tally:
    """What a run has answered so far.

    `weak` are rows whose best answer is below the least score, `unsure` those of the others whose best answer is below
    the least confidence.
    `tokens` are those that the model saw for these rows; it saw fewer where equal rows stood close together.
    """

    files: int = 0
    rows: int = 0
    weak: int = 0
    unsure: int = 0
    second_looks: int = 0
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def answer_file(source: Path, target: Path, job: Job, tally: Tally, progress: Progress) -> None:
    """Answers one CSV; `target` appears when it is whole. Raises InputError for a CSV that breaks a rule."""
    from stages.csvs.tables import read_sized_blocks, write_block

    blocks = read_sized_blocks(source, (job.columns.question, job.columns.context))
    with whole_file(target) as file:
        for block, answers in answered_blocks(blocks, job, progress):
            for part in with_answers(block, answers, job.columns, job.model):
                write_block(file, part)
            best = [ranked[0] for ranked in answers]
            tally.rows += block.height
            tally.errors.update(answer.error for answer in best if answer.error)
            tally.tokens += sum(answer.tokens for answer in best)
            tally.weak += sum(is_weak(answer, job.min_score) for answer in best)
            tally.unsure += sum(is_unsure(answer, job) for answer in best)
            tally.second_looks += sum(answer.looked_again for answer in best)
    tally.files += 1


def answered_blocks(
    blocks: Iterator[tuple["pl.DataFrame", int]], job: Job, progress: Progress
) -> Iterator[tuple["pl.DataFrame", list[Ranked]]]:
    """Blocks with the answers to their rows. The answerer sees one stream, so no thread idles between two blocks."""
    waiting: deque[tuple[pl.DataFrame, int]] = deque()

    def pairs() -> Iterator[tuple[str | None, str | None]]:
        for block, size in blocks:
            check_clash(block.columns, job.columns)
            waiting.append((block, size))
            yield from zip(block[job.columns.question], block[job.columns.context], strict=True)

    answers: list[Ranked] = []
    for ranked in job.answerer.rank(pairs(), job.decoding):
        answers.append([without_weak(answer, job) for answer in ranked])
        block, size = waiting[0]
        progress.advance(size / block.height, 1)
        if len(answers) == block.height:
            waiting.popleft()
            yield block, answers
            answers = []
    yield from ((block, []) for block, _ in waiting)


def is_weak(answer: "Answer", min_score: float) -> bool:
    """Whether the answer's score is below the least that counts."""
    return answer.score is not None and answer.score < min_score


def is_unsure(answer: "Answer", job: Job) -> bool:
    """Whether the answer's confidence is below the least that counts, though its score is not."""
    low = answer.confidence is not None and answer.confidence < job.min_confidence
    return low and not is_weak(answer, job.min_score)


def without_weak(answer: "Answer", job: Job) -> "Answer":
    """The answer; where it is weak, "no answer" with the weak one's figures, so that one can see how weak it was."""
    blank = is_weak(answer, job.min_score) or is_unsure(answer, job)
    return replace(answer, text="", start=0, end=0) if blank else answer


def with_answers(
    block: "pl.DataFrame", answers: Sequence[Ranked], columns: Columns, model: str
) -> Iterator["pl.DataFrame"]:
    """The block with the new columns behind its own; with ranks in several parts, each row once per rank."""
    import polars as pl

    step = max(1, ROWS_OUT // max(map(len, answers), default=1)) if columns.ranks else max(1, block.height)
    for first in range(0, max(1, block.height), step):
        part = block.slice(first, step)
        flat = [
            (row, rank, answer)
            for row, ranked in enumerate(answers[first : first + step])
            for rank, answer in enumerate(ranked if columns.ranks else ranked[:1], 1)
        ]
        if columns.ranks:
            part = part[[row for row, _, _ in flat]]
        values: list[tuple[list[object], type[pl.DataType]]] = [
            ([rank for _, rank, _ in flat], pl.Int64),
            ([answer.text for *_, answer in flat], pl.String),
            ([answer.score for *_, answer in flat], pl.Float64),
            ([answer.confidence for *_, answer in flat], pl.Float64),
            ([answer.start for *_, answer in flat], pl.Int64),
            ([answer.end for *_, answer in flat], pl.Int64),
            ([answer.error for *_, answer in flat], pl.String),
            ([model] * len(flat), pl.String),
        ]
        named = zip(columns.added, values if columns.ranks else values[1:], strict=True)
        yield part.with_columns(pl.Series(name, column, kind) for name, (column, kind) in named)


def check_clash(existing: Sequence[str], columns: Columns) -> None:
    """Raises InputError if a column of the file has the name of one that this stage adds."""
    for name in columns.added:
        if name in existing:
            raise InputError(
                "the file has a column of this name already",
                row=0,
                column=name,
                remedy="choose another with --prefix, say --prefix qa_",
            )
