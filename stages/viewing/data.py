"""The rows of a page as plain data, column by column, in no more bytes than a mail takes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.csvs.answered import Choice
from stages.viewing.shell import as_json
from stages.viewing.survey import NAME, Glimpse, Judged, cut

WHOLE = 1 << 30
# Characters that a passage, or another text, keeps at most, and whether the user's own columns stay; the first that
# makes the page small enough is taken.
PLANS = (
    *((width, True) for width in (WHOLE, 16_000, 8_000, 4_000, 2_000, 1_000, 500, 250, 120)),
    *((width, False) for width in (2_000, 500, 120, 40, 10)),
)


@dataclass(slots=True)
class Texts:
    """Texts that several rows share, each stored once."""

    numbers: dict[str, int]

    def number(self, text: str) -> int:
        """The text's place in the list."""
        return self.numbers.setdefault(text, len(self.numbers))


def fit_rows(rows: Sequence[Judged], budget: int, first_plan: int = 0) -> dict[str, Any]:
    """The rows, with texts cut if they would take more bytes than the budget; at worst without the last rows."""
    while True:
        for width, with_own in PLANS[first_plan:]:
            if rows and characters(rows, width, with_own=with_own) > budget:
                continue
            data = columns(rows, width, with_own=with_own)
            if not rows or len(as_json(data).encode()) <= budget:
                return data
        rows = rows[: len(rows) // 2]


def characters(rows: Iterable[Judged], width: int = WHOLE, *, with_own: bool = True) -> int:
    """A lower bound of the page's characters for these rows, found without writing out rows of a gigabyte."""
    contexts = {row.row.context for row in rows if len(row.row.context) <= width}
    texts = (text for row in rows for text in _texts(row, with_own=with_own))
    return sum(map(len, contexts)) + sum(min(len(text), width) for text in texts)


def _texts(row: Judged, *, with_own: bool) -> Iterator[str]:
    yield from (row.row.question, row.expected or "", *(choice.text for choice in (row.row.best, *row.row.others)))
    if with_own:
        yield from row.row.own.values()


def narrow(row: Judged, width: int, with_own: bool) -> Judged:
    """The row with its texts cut to what a page of this width shows."""
    known, (context, offset) = row.row, excerpt(row, width)
    short = replace(
        known,
        question=cut(known.question, width),
        context=context,
        best=_shorten(known.best, width),
        error=cut(known.error, NAME),
        model=cut(known.model, NAME),
        own={name: cut(value, width) for name, value in known.own.items()} if with_own else {},
        others=tuple(_shorten(other, width) for other in known.others),
    )
    expected = None if row.expected is None else cut(row.expected, width)
    against = row.against and replace(row.against, best=_shorten(row.against.best, width))
    return replace(row, row=short, expected=expected, against=against, offset=offset)


def _shorten(answer: Choice, width: int) -> Choice:
    return replace(answer, text=cut(answer.text, width))


def columns(rows: Sequence[Judged], width: int, *, with_own: bool = True) -> dict[str, Any]:
    """One list for each column of the page; a passage is cut round its answers."""
    contexts, files, errors = Texts({}), Texts({}), Texts({})
    excerpts = [excerpt(row, width) for row in rows]
    own = sorted({name for row in rows for name in row.row.own}) if with_own else []
    data: dict[str, Any] = {
        "width": width if width < WHOLE else None,
        "ownLeftOut": not with_own and any(row.has_own for row in rows),
        "file": [files.number(row.row.file) for row in rows],
        "row": [row.row.row for row in rows],
        "question": [cut(row.row.question, width) for row in rows],
        "context": [contexts.number(text) for text, _ in excerpts],
        "offset": [offset for _, offset in excerpts],
        "length": [row.length for row in rows],
        "error": [errors.number(cut(row.row.error, NAME)) for row in rows],
        "expected": [None if row.expected is None else cut(row.expected, width) for row in rows],
        "exact": [row.exact for row in rows],
        "f1": [_round(row.overlap) for row in rows],
        "others": [[choice(other, width) for other in row.row.others] for row in rows],
        "against": [row.against and _glimpse(row, row.against, width) for row in rows],
        "best": [choice(row.row.best, width) for row in rows],
        "own": {name: [cut(row.row.own.get(name, ""), width) for row in rows] for name in own},
    }
    shared = {"contexts": contexts, "files": files, "errors": errors}
    return {**data, **{name: list(texts.numbers) for name, texts in shared.items()}}


def excerpt(row: Judged, width: int) -> tuple[str, int]:
    """What the page holds of the passage, and how many characters of it come before."""
    text = row.row.context
    if len(text) <= width:
        return text, row.offset
    places = [(choice.start, choice.end) for choice in _marked_answers(row)]
    known = [(start - row.offset, end - row.offset) for start, end in places if start is not None and end is not None]
    first, last = known[0] if known else (0, 0)
    for start, end in known[1:]:
        if max(last, end) - min(first, start) <= width // 2:
            first, last = min(first, start), max(last, end)
    begin = max(0, min((first + last) // 2 - width // 2, len(text) - width))
    return text[begin : begin + width], row.offset + begin


def _marked_answers(row: Judged) -> Iterable[Choice]:
    """The answers that are marked in the passage, the most important ones first."""
    other = [row.against.best] if row.against and row.same_passage else []
    return [row.row.best, *other, *row.row.others]


def choice(answer: Choice, width: int) -> list[Any]:
    """An answer as a list: text, score, confidence, start, end."""
    numbers = [_round(answer.score), _round(answer.confidence), answer.start, answer.end]
    return [cut(answer.text, width), *numbers]


def _glimpse(row: Judged, against: Glimpse, width: int) -> Mapping[str, Any]:
    return {
        "best": choice(against.best, width),
        "error": cut(against.error, NAME),
        "exact": against.exact,
        "changed": row.is_changed,
        "samePassage": row.same_passage,
    }


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
