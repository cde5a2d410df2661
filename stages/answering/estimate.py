"""What a run will take, before it is run: everything is counted, and a sample of the rows is answered."""

import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.answerer import ROWS_IN_FLIGHT
from runtime.errors import InputError
from runtime.os_errors import describe
from runtime.windows import UnanswerableRowError
from stages.answering.rows import AnswerJob

if TYPE_CHECKING:
    from stages.answering.reuse import OldAnswers

# Seconds for which rows are answered to learn the speed, and windows of theirs at least. Few rows tell little of how
# many are near ties, each of which takes three times as long; and 64 rows of 200 windows would take minutes.
SECONDS, SAMPLE = 3.0, 64
# Windows of the rows that are drawn for it, at least; and rows, however many windows each has.
SAMPLE_WINDOWS, _LEAST = 512, 4

Pair = tuple[str | None, str | None]
Known = Callable[[str], "OldAnswers"]


@dataclass(slots=True)
class Estimate:
    """What lies ahead. `rejected` files break a rule, `errors` and `reused` are rows without, or with an old answer."""

    files: int = 0
    unchanged: int = 0
    rejected: list[str] = field(default_factory=list)
    rows: int = 0
    tokens: int = 0
    windows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    seconds: float = 0.0

    def figures(self, threads: int, price: float | None) -> dict[str, object]:
        """As one line of a log; the cost counts a CPU for each thread."""
        return {
            "files": self.files,
            "unchanged_files": self.unchanged,
            "rejected_files": len(self.rejected),
            "rows": self.rows,
            "windows": self.windows,
            "tokens": self.tokens,
            "errors": dict(self.errors),
            "reused_rows": self.reused,
            "threads": threads,
            "seconds": round(self.seconds, 3),
            **({"cost": round(self.seconds / 3600 * threads * price, 4)} if price is not None else {}),
        }


class _SampleRow(NamedTuple):
    pair: Pair
    tokens: int
    windows: int


class _Sample:
    """Rows that the model will see, and some of them to answer now; `in_flight` rows are in work together.

    Which they are is drawn by lot, the same in each run: every n-th row of a table that repeats itself is no sample.
    """

    def __init__(self, in_flight: int) -> None:
        self.rows: list[_SampleRow] = []
        self.tokens = 0
        self._drawn = 0
        self._chance, self._share = random.Random(0), 1.0  # noqa: S311 - no secret
        self._in_flight = in_flight
        self._last: OrderedDict[Pair, int] = OrderedDict()

    def add(self, row: _SampleRow) -> None:
        """Takes the next row of the run into account."""
        self._drawn += 1
        if self._shares(row.pair):
            return
        self.tokens += row.tokens
        if self._chance.random() >= self._share:
            return
        self.rows.append(row)
        # When their windows become too many, every second row is dropped.
        while self._is_large():
            self._chance.shuffle(self.rows)
            self.rows, self._share = self.rows[::2], self._share / 2

    def _shares(self, pair: Pair) -> bool:
        """Whether an equal row is still in work, so that both share one computation."""
        while self._last and next(iter(self._last.values())) <= self._drawn - self._in_flight:
            self._last.popitem(last=False)
        shares = pair in self._last
        self._last[pair] = self._drawn
        self._last.move_to_end(pair)
        return shares

    def _is_large(self) -> bool:
        return len(self.rows) > _LEAST and sum(row.windows for row in self.rows) >= 2 * SAMPLE_WINDOWS

    def seconds(self, answer: Callable[[Iterable[Pair]], object], threads: int) -> float:
        """What all rows will take, as far as the drawn ones tell."""
        # The first runs of a session are slower than all that follow; which rows these are does not matter.
        answer(row.pair for row in sorted(self.rows, key=lambda row: row.windows)[:threads])
        self._chance.shuffle(self.rows)
        tokens, windows, began = 0, 0, time.perf_counter()

        def due() -> Iterator[Pair]:
            nonlocal tokens, windows
            for row in self.rows:
                if windows >= SAMPLE and time.perf_counter() - began > SECONDS:
                    return
                tokens, windows = tokens + row.tokens, windows + row.windows
                yield row.pair

        answer(due())
        return (time.perf_counter() - began) / tokens * self.tokens


def estimate(job: AnswerJob, files: dict[str, Path], unchanged: int, known: Known | None = None) -> Estimate:
    """Counts the rows of `files`, and answers some of them from all over; `known` gives the old answers for a file."""
    result = Estimate(files=len(files), unchanged=unchanged)
    sample = _Sample(ROWS_IN_FLIGHT * job.answerer.threads)
    windower = job.answerer.windower(job.decoding)
    for pair, is_known in _pairs(job, files, result, known):
        result.rows += 1
        if is_known:
            result.reused += 1
            continue
        if error := job.refusal(*pair):
            result.errors[error] += 1
            continue
        try:
            windows = windower.windows(*pair)
        except UnanswerableRowError as error:
            result.errors[str(error)] += 1
            continue
        tokens = sum(window.ids.size for window in windows)
        result.windows += len(windows)
        result.tokens += tokens
        sample.add(_SampleRow(pair, tokens, len(windows)))
    if sample.rows:
        result.seconds = sample.seconds(
            lambda pairs: deque(job.answerer.rank(pairs, job.decoding), 0), job.answerer.threads
        )
    return result


def _pairs(
    job: AnswerJob, files: dict[str, Path], result: Estimate, known: Known | None
) -> Iterator[tuple[Pair, bool]]:
    """The rows, and whether the answer of each is known."""
    for name, path in files.items():
        try:
            old = known(name) if known else None
            for pair in _rows(job, path):
                yield pair, old is not None and old.get(*pair) is not None
        except (InputError, OSError) as error:
            result.rejected.append(f"{name}: {describe(error)}")


def _rows(job: AnswerJob, path: Path) -> Iterator[Pair]:
    from stages.csvs.reader import read_frames

    columns, left = job.columns, job.limit
    for block, _ in read_frames(path, (columns.question, columns.context)):
        part = block if left is None else block.head(left)
        yield from zip(part[columns.question], part[columns.context], strict=True)
        left = None if left is None else left - part.height
        if left == 0:
            return
