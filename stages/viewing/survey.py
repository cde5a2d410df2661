"""What a run's rows add up to, and the rows of it that are worth looking at."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.squad import exact_match, f1
from stages.csvs.answered import AnsweredRow, Choice

BINS = 20
# What names a file or a bundle, or says why a row failed, is never longer in practice.
NAME = 300
RELIABILITY_BINS = 10
# Kinds of errors, and bundles, that the page names; the most frequent ones.
NAMED = 30


@dataclass(frozen=True, slots=True)
class Judged:
    """A row with what is known about it: how right it is, if an answer was expected, and the other run's row.

    Attributes:
        is_changed: whether the other run answered otherwise.
        same_passage: whether the other run was asked the same.
        length: code points of the passage, of which `row` may hold a stretch from `offset` on.
        has_own: whether there are columns of the user's own, which `row` may lack.

    """

    row: AnsweredRow
    expected: str | None
    exact: float | None
    overlap: float | None
    against: "Glimpse | None"
    is_changed: bool
    same_passage: bool
    length: int
    has_own: bool
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What is kept of the other run's row: the answer, and whether it was given to the same passage."""

    best: Choice
    error: str
    model: str
    exact: float | None
    overlap: float | None
    asked: int

    @property
    def says(self) -> tuple[str, tuple[int | None, int | None], str]:
        """What two runs are compared by."""
        return self.best.text, (self.best.start, self.best.end), self.error


def judge_row(row: AnsweredRow, expected_column: str, against: "Glimpse | None" = None) -> Judged:
    """The row, with exact match and F1 if its file says what was expected and it could be answered."""
    expected = row.own.get(expected_column)
    exact = overlap = None
    if expected is not None:
        # It is shown beside the answer, and so not once more among the user's columns.
        row = replace(row, own={name: value for name, value in row.own.items() if name != expected_column})
        if not row.error:
            exact, overlap = exact_match(row.best.text, expected), f1(row.best.text, expected)
    changed = against is not None and against.says != (row.best.text, (row.best.start, row.best.end), row.error)
    same = against is not None and against.asked == _pair_hash(row)
    return Judged(row, expected, exact, overlap, against, changed, same, len(row.context), bool(row.own))


def glimpse(row: Judged) -> Glimpse:
    """What a comparison needs of a row."""
    return Glimpse(row.row.best, row.row.error, row.row.model, row.exact, row.overlap, _pair_hash(row.row))


def _pair_hash(row: AnsweredRow) -> int:
    return hash((row.question, row.context))


def certainty(choice: Choice) -> float | None:
    """The confidence; if the bundle has no curve for it, the score."""
    return choice.score if choice.confidence is None else choice.confidence


@dataclass(slots=True)
class Survey:
    """Counts of every row of a run; the page shows them also if it cannot hold all rows."""

    rows: int = 0
    unanswered: int = 0
    with_confidence: int = 0
    files: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    # Of the rows with an expected answer: how many, and the sums of exact match and F1.
    expected: int = 0
    exact: float = 0.0
    overlap: float = 0.0
    # For each range of confidence: rows, the sum of their confidence, and of their exact match.
    reliability: list[list[float]] = field(default_factory=lambda: [[0, 0.0, 0.0] for _ in range(RELIABILITY_BINS)])

    def add(self, row: Judged) -> None:
        """Counts one row."""
        best = row.row.best
        self.rows += 1
        self.files[row.row.file] += 1
        self.models[cut(row.row.model, NAME)] += 1
        if row.expected is not None:
            # A row that could not be answered is wrong.
            self.expected += 1
            self.exact += row.exact or 0.0
            self.overlap += row.overlap or 0.0
        if row.row.error:
            self.errors[cut(row.row.error, NAME)] += 1
            return
        self.unanswered += not best.text
        self.with_confidence += best.confidence is not None
        sure = certainty(best)
        if sure is not None:
            self.bins[_bin(sure, BINS)] += 1
            if row.exact is not None:
                entry = self.reliability[_bin(sure, RELIABILITY_BINS)]
                for index, value in enumerate((1, sure, row.exact)):
                    entry[index] += value

    def as_data(self) -> dict[str, Any]:
        """The survey for the page."""
        return {
            "rows": self.rows,
            "files": len(self.files),
            "unanswered": self.unanswered,
            "failed": self.errors.total(),
            "errors": self.errors.most_common(NAMED),
            "errorKinds": len(self.errors),
            "models": self.models.most_common(NAMED),
            "measure": "confidence" if self.with_confidence or not any(self.bins) else "score",
            "bins": self.bins,
            "expected": self.expected,
            "exact": self.exact / self.expected if self.expected else None,
            "f1": self.overlap / self.expected if self.expected else None,
            "reliability": [
                {"rows": int(rows), "confidence": sure / rows, "exact": right / rows}
                for rows, sure, right in self.reliability
                if rows
            ],
            "calibrationError": self._calibration_error(),
        }

    def _calibration_error(self) -> float | None:
        total = sum(rows for rows, *_ in self.reliability)
        return sum(abs(sure - right) for _, sure, right in self.reliability) / total if total else None


def cut(text: str, width: int) -> str:
    """The text, ended with an ellipsis if it is longer."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _bin(share: float, bins: int) -> int:
    return min(bins - 1, max(0, int(share * bins)))


@dataclass(slots=True)
class Changes:
    """What became of the rows since the other run."""

    same: int = 0
    changed: int = 0
    only_here: int = 0
    only_there: int = 0
    became_right: int = 0
    became_wrong: int = 0

    def add(self, row: Judged) -> None:
        """Counts one row."""
        if row.against is None:
            self.only_here += 1
        elif not row.is_changed:
            self.same += 1
        else:
            self.changed += 1
            self.became_right += bool(row.exact) and row.against.exact == 0
            self.became_wrong += row.exact == 0 and bool(row.against.exact)

    def as_data(self) -> dict[str, int]:
        """The changes for the page."""
        return {
            "same": self.same,
            "changed": self.changed,
            "onlyHere": self.only_here,
            "onlyThere": self.only_there,
            "becameRight": self.became_right,
            "becameWrong": self.became_wrong,
        }
