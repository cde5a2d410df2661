"""The rows of a page as plain data, column by column, in no more bytes than a mail takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.csvs.answered import Choice
from stages.viewing.shell import as_json
from stages.viewing.survey import Glimpse, Judged

# Characters that a passage, or another text, keeps at most; the first width at which the page is small enough is taken.
WIDTHS = (1 << 30, 16_000, 8_000, 4_000, 2_000, 1_000, 500, 250, 120)


@dataclass(slots=True)
class Texts:
    """Texts that several rows share, each stored once."""

    numbers: dict[str, int]

    def number(self, text: str) -> int:
        """The text's place in the list."""
        return self.numbers.setdefault(text, len(self.numbers))


def fitting(rows: Sequence[Judged], budget: int) -> dict[str, Any]:
    """The rows, with texts cut where they would take more bytes than the budget; at worst without the last rows."""
    while True:
        for width in WIDTHS:
            data = columns(rows, width)
            if len(as_json(data).encode()) <= budget or not rows:
                return data
        rows = rows[: len(rows) // 2]


def columns(rows: Sequence[Judged], width: int) -> dict[str, Any]:
    """One list for each column of the page; a passage is cut round its answers."""
    contexts, files = Texts({}), Texts({})
    pieces = [piece(row, width) for row in rows]
    own = sorted({name for row in rows for name in row.row.own})
    data: dict[str, Any] = {
        "width": width if width < WIDTHS[0] else None,
        "file": [files.number(row.row.file) for row in rows],
        "row": [row.row.row for row in rows],
        "question": [cut(row.row.question, width) for row in rows],
        "context": [contexts.number(text) for text, _ in pieces],
        "offset": [offset for _, offset in pieces],
        "length": [len(row.row.context) for row in rows],
        "error": [row.row.error for row in rows],
        "model": [row.row.model for row in rows],
        "expected": [None if row.expected is None else cut(row.expected, width) for row in rows],
        "exact": [row.exact for row in rows],
        "f1": [_rounded(row.overlap) for row in rows],
        "others": [[choice(other, width) for other in row.row.others] for row in rows],
        "against": [row.against and _glimpse(row, row.against, width) for row in rows],
        "best": [choice(row.row.best, width) for row in rows],
        "own": {name: [cut(row.row.own.get(name, ""), width) for row in rows] for name in own},
    }
    return {**data, "contexts": list(contexts.numbers), "files": list(files.numbers)}


def piece(row: Judged, width: int) -> tuple[str, int]:
    """What the page holds of the passage, and how many characters of it come before."""
    text = row.row.context
    if len(text) <= width:
        return text, 0
    places = [(choice.start, choice.end) for choice in _marked(row)]
    known = [(start, end) for start, end in places if start is not None and end is not None]
    first, last = known[0] if known else (0, 0)
    for start, end in known[1:]:
        if max(last, end) - min(first, start) <= width // 2:
            first, last = min(first, start), max(last, end)
    begin = max(0, min((first + last) // 2 - width // 2, len(text) - width))
    return text[begin : begin + width], begin


def _marked(row: Judged) -> Iterable[Choice]:
    """The answers that are marked in the passage, the most important ones first."""
    other = [row.against.best] if row.against and row.against.asked == hash((row.row.question, row.row.context)) else []
    return [row.row.best, *other, *row.row.others]


def choice(answer: Choice, width: int) -> list[Any]:
    """An answer as a list: text, score, confidence, start, end."""
    numbers = [_rounded(answer.score), _rounded(answer.confidence), answer.start, answer.end]
    return [cut(answer.text, width), *numbers]


def _glimpse(row: Judged, against: Glimpse, width: int) -> Mapping[str, Any]:
    return {
        "best": choice(against.best, width),
        "error": against.error,
        "exact": against.exact,
        "changed": row.is_changed,
        "samePassage": against.asked == hash((row.row.question, row.row.context)),
    }


def cut(text: str, width: int) -> str:
    """The text, ended with an ellipsis where it is longer."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
