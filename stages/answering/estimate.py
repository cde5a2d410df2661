"""What a run will take, before it is run: everything is counted, and a sample of the rows is answered."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.bundle import TOKENIZER
from runtime.errors import InputError
from runtime.windows import UnanswerableRowError, Windower
from stages.answering.rows import Job

if TYPE_CHECKING:
    from stages.answering.reuse import OldAnswers

# Rows that are answered to learn the speed.
SAMPLE = 64

Pair = tuple[str | None, str | None]
Known = Callable[[str], AbstractContextManager["OldAnswers"]]


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


def estimate(job: Job, files: dict[str, Path], unchanged: int, known: Known | None = None) -> Estimate:
    """Counts the rows of `files`, and answers some of them from all over; `known` gives the old answers for a file."""
    result = Estimate(files=len(files), unchanged=unchanged)
    sample: list[tuple[Pair, int]] = []
    bundle, step = job.answerer.bundle, 1
    windower = Windower(bundle.folder / TOKENIZER, bundle.manifest.inputs.cls_token_id, job.decoding)
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
        # Every step-th row; where that becomes too many, every second one of them goes.
        if (result.rows - 1) % step == 0:
            sample.append((pair, tokens))
        if len(sample) >= 2 * SAMPLE:
            sample, step = sample[::2], 2 * step
    if sample:
        result.seconds = _seconds_per_token(job, sample) * result.tokens
    return result


def _pairs(job: Job, files: dict[str, Path], result: Estimate, known: Known | None) -> Iterator[tuple[Pair, bool]]:
    """The rows, and whether the answer of each is known."""
    for name, path in files.items():
        try:
            with known(name) if known else nullcontext() as old:
                for pair in _rows(job, path):
                    yield pair, old is not None and old.get(*pair) is not None
        except (InputError, OSError) as error:
            result.rejected.append(f"{name}: {error}")


def _rows(job: Job, path: Path) -> Iterator[Pair]:
    from stages.csvs.reader import read_frames

    columns, left = job.columns, job.limit
    for block, _ in read_frames(path, (columns.question, columns.context)):
        part = block if left is None else block.head(left)
        yield from zip(part[columns.question], part[columns.context], strict=True)
        left = None if left is None else left - part.height
        if left == 0:
            return


def _seconds_per_token(job: Job, sample: list[tuple[Pair, int]]) -> float:
    # The first runs of a session are slower than all that follow.
    _answer(job, (pair for pair, _ in sample[: job.answerer.threads]))
    began = time.perf_counter()
    _answer(job, (pair for pair, _ in sample))
    return (time.perf_counter() - began) / sum(tokens for _, tokens in sample)


def _answer(job: Job, pairs: Iterable[Pair]) -> None:
    for _ in job.answerer.rank(pairs, job.decoding):
        pass
