"""A block of rows and its answers -> the same rows with the new columns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runtime.errors import InputError
from stages.csvs.columns import ANSWER_COLUMNS, GIVEN, LONGEST_FIELD, RANK

if TYPE_CHECKING:
    import polars as pl

    from runtime import Answer, Answerer, Decoding

COLUMNS = tuple(ANSWER_COLUMNS)

Ranked = Sequence["Answer"]
# Rows that are written at a time where each is repeated for its ranks.
ROWS_OUT = 512


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that are read, the prefix of those that are written, and whether ranks are written."""

    question: str
    context: str
    prefix: str
    ranks: bool = False

    @property
    def added(self) -> list[str]:
        """Names of the columns that are written."""
        return [self.prefix + name for name in ((RANK, *COLUMNS) if self.ranks else COLUMNS)]


@dataclass(frozen=True, slots=True)
class Least:
    """The score and the confidence below which an answer does not count."""

    score: float = 0.0
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """How rows are answered and written.

    Attributes:
        answerer, decoding: a loaded bundle, and its options.
        columns: those that are read and written.
        least: what an answer needs to count.
        limit: rows of each file that are answered; None for all.
        format: of the files that are written.
        longest: bytes of the longest question or context that is answered.

    """

    answerer: "Answerer"
    decoding: "Decoding"
    columns: Columns
    least: Least = Least()
    limit: int | None = None
    format: str = "csv"
    longest: int = LONGEST_FIELD

    def refusal(self, question: str | None, context: str | None) -> str | None:
        """The error of a row that is too long for the model: a field of 60 MB would take 5 GB of memory."""
        for name, text in (("question", question), ("context", context)):
            # Most texts need not be encoded to see that they are short enough.
            if text and len(text) * 4 > self.longest and len(text.encode()) > self.longest:
                return f"{name} too long"
        return None

    @property
    def model(self) -> str:
        """The bundle's identity, as the column `model` has it."""
        return self.answerer.bundle.manifest.bundle_id


@dataclass(slots=True)
class Counts:
    """What a run has done so far.

    Attributes:
        weak: rows whose best answer is below the least score or confidence.
        tokens: those that the model saw for these rows; it saw fewer where equal rows stood close together.
        whole: rows whose answer is their whole context.
        reused: rows that took the answer of an earlier run.
        unchanged: files that an earlier run answered, from the same bytes in the same way.

    """

    files: int = 0
    unchanged: int = 0
    rows: int = 0
    weak: int = 0
    tokens: int = 0
    whole: int = 0
    reused: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, best: Sequence["Answer"], context_lengths: Iterable[int | None], least: Least) -> None:
        """Counts rows by their best answers."""
        self.rows += len(best)
        self.errors.update(answer.error for answer in best if answer.error)
        self.tokens += sum(answer.tokens for answer in best)
        self.weak += sum(is_weak(answer, least) for answer in best)
        self.whole += sum(
            answer.start == 0 and bool(answer.end) and answer.end == length
            for answer, length in zip(best, context_lengths, strict=True)
        )

    def merge(self, other: "Counts") -> None:
        """Adds what another process has done."""
        for name in ("files", "unchanged", "rows", "weak", "tokens", "whole", "reused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors.update(other.errors)


def is_weak(answer: "Answer", least: Least) -> bool:
    """Whether the answer's score or confidence is below the least that counts."""
    unsure = answer.confidence is not None and answer.confidence < least.confidence
    return unsure or (answer.score is not None and answer.score < least.score)


def without_weak(ranked: Ranked, least: Least) -> list["Answer"]:
    """The answers; of each weak one "no answer" with its score, so that one can see how weak it was.

    Only the best has a confidence. Where that is too low, an answer that is less likely still is weak, too.
    """
    unsure = is_weak(ranked[0], Least(confidence=least.confidence))
    return [replace(each, text="", start=0, end=0) if unsure or is_weak(each, least) else each for each in ranked]


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
        # Not with_columns, which starts polars' engine: twice the time of all else here for a block of one row.
        yield part.hstack([pl.Series(name, column, kind) for name, (column, kind) in named])


def renames(existing: Sequence[str], columns: Columns) -> dict[str, str]:
    """New names for columns of the file that are called like one that this stage adds: `answer` -> `given_answer`.

    Raises InputError if that name is taken too, and under a prefix, which the user chose and can choose again.
    """
    given = {name: GIVEN + name for name in columns.added if name in existing}
    for name, new in given.items():
        if columns.prefix or new in existing or name in (columns.question, columns.context):
            raise InputError(
                "the file has a column of this name already",
                row=0,
                column=name,
                remedy="choose another with --prefix, say --prefix qa_",
            )
    return given
