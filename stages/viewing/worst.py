"""The rows that a page shows, in bounded memory."""

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace

from stages.viewing.data import PLANS, characters, narrow
from stages.viewing.survey import NAME, Judged, certainty, cut

# Of each kind of error this many count as the worst rows there are; more of the same would crowd out all others.
OF_A_KIND = 100
# Characters that are kept, five times what the page has room for: 2,000 passages of a megabyte took as many.
MOST = 16_000_000
# Bytes of memory that a text takes besides its characters.
OF_A_TEXT = 100


@dataclass(slots=True)
class Worst:
    """The rows that need looking at most: errors, changed and wrong answers, and then the least certain ones.

    Attributes:
        limit: how many are kept.
        plan: the place in `PLANS` of what is kept of each; the page needs no more.

    """

    limit: int
    plan: int = 0
    _kept: list[tuple[tuple[int, float], int, Judged]] = field(default_factory=list)
    _seen: int = 0
    _errors: Counter[str] = field(default_factory=Counter)
    _passages: dict[str, tuple[str, int]] = field(default_factory=dict)
    _size: int = 0

    def add(self, row: Judged) -> None:
        """Keeps the row if it is among the worst so far."""
        self._seen += 1
        rank = self._badness(row), -self._seen
        if len(self._kept) >= self.limit:
            if rank < self._kept[0][:2]:
                return
            self._release(heapq.heappop(self._kept)[2])
        heapq.heappush(self._kept, (*rank, self._hold(narrow(row, *PLANS[self.plan]))))
        while self._size > MOST and self.plan < len(PLANS) - 1:
            self._narrow()

    def rows(self) -> list[Judged]:
        """The rows, worst first; of equally bad ones the first that was added."""
        return [row for *_, row in sorted(self._kept, key=lambda entry: (entry[0], entry[1]), reverse=True)]

    def _hold(self, row: Judged) -> Judged:
        """The row, counted; its passage is in memory once for all rows that share it."""
        passage, uses = self._passages.get(row.row.context, (row.row.context, 0))
        self._passages[passage] = passage, uses + 1
        self._size += _weight(row) - (len(passage) if uses else 0)
        return replace(row, row=replace(row.row, context=passage))

    def _release(self, row: Judged) -> None:
        passage, uses = self._passages.pop(row.row.context)
        if uses > 1:
            self._passages[passage] = passage, uses - 1
        self._size -= _weight(row) - (len(passage) if uses > 1 else 0)

    def _narrow(self) -> None:
        """Keeps less of each row."""
        self.plan += 1
        kept, self._kept, self._size = self._kept, [], 0
        self._passages.clear()
        # In the order of the heap, and so a heap again.
        for badness, number, row in kept:
            self._kept.append((badness, number, self._hold(narrow(row, *PLANS[self.plan]))))

    def _badness(self, row: Judged) -> tuple[int, float]:
        error = row.row.error
        if error:
            kind = cut(error, NAME)
            self._errors[kind] += 1
            return (4 if self._errors[kind] <= OF_A_KIND else -1), 0.0
        doubt = 1 - (certainty(row.row.best) or 0.0)
        if row.is_changed:
            return 3, doubt
        return (2 if row.exact == 0 else 1 if not row.row.best.text else 0), doubt


def _weight(row: Judged) -> int:
    return characters([row]) + OF_A_TEXT * len(row.row.own)
