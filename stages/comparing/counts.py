"""What a comparison of two runs adds up to."""

import math
from dataclasses import dataclass, field

from runtime.squad import exact_match, f1
from stages.comparing.pairs import Pair, Side

LEAST_P = 1e-300


@dataclass(frozen=True, slots=True)
class Marks:
    """How right one side is by SQuAD's metric; a row that could not be answered is wrong."""

    exact: float
    f1: float


def marks(side: Side, expected: str) -> Marks:
    """Exact match and F1 of what a run says."""
    if side.error:
        return Marks(0.0, 0.0)
    return Marks(exact_match(side.choice.text, expected), f1(side.choice.text, expected))


def sign_test(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact sign test: how often chance alone splits so many rows so unevenly, or more so.

    What is below LEAST_P is said to be that much, since a float has no room for it.

    The first term is a quotient of whole numbers, the others follow from it by their ratio, in 0.2 s for 100,000 rows;
    terms too small to change the sum are left out.
    """
    rows, fewer = only_a + only_b, min(only_a, only_b)
    term = math.comb(rows, fewer) / (1 << rows)
    terms = [term]
    for count in range(fewer, 0, -1):
        term *= count / (rows - count + 1)
        if term < terms[0] * 1e-20:
            break
        terms.append(term)
    return min(1.0, max(LEAST_P, 2 * math.fsum(terms)))


@dataclass(slots=True)
class Counts:
    """Counts over the rows that both runs have, unless a field says otherwise; lists hold a figure for each run."""

    rows: int = 0
    only: list[int] = field(default_factory=lambda: [0, 0])
    agreeing: int = 0
    asked_otherwise: int = 0
    first_otherwise: Pair | None = None
    labelled: int = 0
    exact: list[float] = field(default_factory=lambda: [0.0, 0.0])
    f1: list[float] = field(default_factory=lambda: [0.0, 0.0])
    right_only: list[int] = field(default_factory=lambda: [0, 0])
    models: list[set[str]] = field(default_factory=lambda: [set(), set()])

    def add(self, pair: Pair) -> None:
        """Counts one row."""
        if not pair.is_comparable:
            self.asked_otherwise += 1
            self.first_otherwise = self.first_otherwise or pair
            return
        self.rows += 1
        self.agreeing += pair.agrees
        for models, side in zip(self.models, (pair.a, pair.b), strict=True):
            models.add(side.model)
        if pair.expected is not None:
            a = marks(pair.a, pair.expected)
            self._judge(a, a if pair.agrees else marks(pair.b, pair.expected))

    def _judge(self, a: Marks, b: Marks) -> None:
        self.labelled += 1
        for index, (mine, other) in enumerate(((a, b), (b, a))):
            self.exact[index] += mine.exact
            self.f1[index] += mine.f1
            self.right_only[index] += mine.exact > other.exact

    def add_file(self, other: "Counts") -> None:
        """Adds the counts of another file."""
        for name in ("rows", "agreeing", "asked_otherwise", "labelled"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("only", "exact", "f1", "right_only"):
            setattr(self, name, [sum(both) for both in zip(getattr(self, name), getattr(other, name), strict=True)])
        self.first_otherwise = self.first_otherwise or other.first_otherwise
        for mine, others in zip(self.models, other.models, strict=True):
            mine |= others

    @property
    def agreement(self) -> float:
        """The share of rows on which both runs agree."""
        return self.agreeing / self.rows

    @property
    def p(self) -> float:
        """The sign test's p over the rows of which exactly one run is right."""
        return sign_test(*self.right_only)
