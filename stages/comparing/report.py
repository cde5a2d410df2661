"""A comparison as text for a terminal, and as JSON."""

import json
import math
from collections.abc import Iterator
from typing import Any

from runtime.logs import printable
from stages.common.names import utf8
from stages.comparing.comparison import Comparison
from stages.comparing.counts import LEAST_P, Counts, marks
from stages.comparing.pairs import Pair, Side

# An answer is some words, as a rule; a whole page of them would hide the rows below it.
LONGEST = 120


def as_json(comparison: Comparison) -> str:
    """The comparison as one object on one line."""
    counts, options = comparison.counts, comparison.options
    report = {
        "a": _run(counts, 0, str(options.a)),
        "b": _run(counts, 1, str(options.b)),
        "rows": counts.rows,
        "agreeing": counts.agreeing,
        "agreement": counts.agreement,
        "only_a": counts.only[0],
        "only_b": counts.only[1],
        "asked_otherwise": counts.asked_otherwise,
        "labelled": counts.labelled,
        "sign_test_p": counts.p if counts.labelled else None,
        "failed_files": [utf8(name) for name in comparison.failed],
        "differences": [_pair(pair) for pair in comparison.shown],
    }
    return json.dumps(report)


def _run(counts: Counts, index: int, source: str) -> dict[str, Any]:
    labelled = counts.labelled
    return {
        "answers": utf8(source),
        "models": sorted(counts.models[index]),
        "exact_match": counts.exact[index] / labelled if labelled else None,
        "f1": counts.f1[index] / labelled if labelled else None,
        "right_only": counts.right_only[index] if labelled else None,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "file": utf8(pair.file),
        "row": pair.row,
        "question": pair.b.question,
        "expected": pair.expected,
        "a": _side(pair.a, pair.expected),
        "b": _side(pair.b, pair.expected),
    }


def _side(side: Side, expected: str | None) -> dict[str, Any]:
    known = None if expected is None else marks(side, expected)
    return {
        "answer": side.choice.text,
        "score": _finite(side.choice.score),
        "confidence": _finite(side.choice.confidence),
        "start": side.choice.start,
        "end": side.choice.end,
        "error": side.error or None,
        "exact_match": known and known.exact,
        "f1": known and known.f1,
    }


def _finite(value: float | None) -> float | None:
    """None for infinity and NaN, which JSON lacks and only an edited CSV can hold."""
    return value if value is not None and math.isfinite(value) else None


def as_text(comparison: Comparison) -> Iterator[str]:
    """The comparison as lines: the rows that differ, then the figures."""
    counts, options = comparison.counts, comparison.options
    for pair in comparison.shown:
        yield from _row(pair)
    hidden = counts.rows - counts.agreeing - len(comparison.shown)
    if hidden:
        yield from (f"… and {hidden} more that differ; --limit shows more", "")
    for name, source, models in zip("AB", (options.a, options.b), counts.models, strict=True):
        yield f"{name}: {printable(str(source))}, model {printable(', '.join(sorted(models)))}"
    yield from ("", f"rows compared   {counts.rows}", f"say the same    {counts.agreeing} ({counts.agreement:.2%})")
    others = (("only in A", counts.only[0]), ("only in B", counts.only[1]), ("asked otherwise", counts.asked_otherwise))
    yield from (f"{name.ljust(15)} {rows}" for name, rows in others if rows)
    if counts.labelled:
        yield from _figures(counts)


def _figures(counts: Counts) -> Iterator[str]:
    yield f"labelled        {counts.labelled}"
    yield from ("", f"{'':15} {'A':>9} {'B':>9}")
    for name, (a, b) in (("exact match", counts.exact), ("F1", counts.f1)):
        yield f"{name.ljust(15)} {a / counts.labelled:>9.2%} {b / counts.labelled:>9.2%}"
    a, b = counts.right_only
    yield f"{'right alone'.ljust(15)} {a:>9} {b:>9}"
    yield f"sign test: p {'=' if counts.p > LEAST_P else '<'} {counts.p:.4g}"


def _row(pair: Pair) -> Iterator[str]:
    yield f"{printable(pair.file)}, row {pair.row}: {_brief(pair.b.question)}"
    words = [_words(side) for side in (pair.a, pair.b)]
    width = max(map(len, words))
    for name, side, text in zip("AB", (pair.a, pair.b), words, strict=True):
        numbers = f"{_number(side.choice.score)}  {_number(side.choice.confidence)}"
        yield f"  {name}  {numbers}  {_mark(pair, side, text, width)}"
    if pair.expected is not None:
        yield f"  expected      {_brief(pair.expected) if pair.expected else '(no answer)'}"
    yield ""


def _words(side: Side) -> str:
    if side.error:
        return f"error: {_brief(side.error)}"
    place = "" if side.choice.start is None else f"  [{side.choice.start}:{side.choice.end}]"
    return f"{_brief(side.choice.text)}{place}" if side.choice.text else "(no answer)"


def _mark(pair: Pair, side: Side, text: str, width: int) -> str:
    if pair.expected is None:
        return text
    return f"{text.ljust(width)}  {'right' if marks(side, pair.expected).exact else 'wrong'}"


def _number(value: float | None) -> str:
    return "  - " if value is None else f"{value:.2f}"


def _brief(text: str) -> str:
    """The text on one line that a terminal shows and does not obey."""
    return printable(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")
