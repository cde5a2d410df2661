"""Candidate spans of a row's windows -> ranked answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.decoding import Decoding
from runtime.spans import Spans
from runtime.windows import Window


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one row.

    Attributes:
        text: the answer, empty for "no answer"; None if `error` is set.
        score: probability of the span, summed over mentions of the same text, so that it may exceed 1.
        start: first code point of the answer in the context.
        end: one past its last code point: `context[start:end] == text`.
        confidence: share of answers like this one that are right, 0..1; None if the bundle has no fitted curve.
        error: why this row cannot be answered, or None.
        tokens: tokens that the model saw for this row, overlaps counted twice.

    """

    text: str | None
    score: float | None
    start: int | None
    end: int | None
    confidence: float | None = None
    error: str | None = None
    tokens: int = 0

    @classmethod
    def failure(cls, error: str) -> "Answer":
        """The answer of a row that cannot be answered."""
        return cls(None, None, None, None, error=error)


def ranked_answers(context: str, windows: Sequence[tuple[Spans, Window]], decoding: Decoding) -> tuple[Answer, ...]:
    """The row's answers, best first, at most `top_k`.

    Spans of equal text, whatever their case, count as one answer: scores add up and the first mention's place stays
    (transformers#38761). So a text that occurs in two windows gains on one that occurs once.
    """
    scores: dict[str, float] = {}
    places: dict[str, tuple[int, int]] = {}
    for spans, window in windows:
        for first, last, score in zip(spans.starts, spans.ends, spans.scores, strict=True):
            start, end = character_span(window, int(first), int(last), decoding.align_to_words)
            key = context[start:end].lower()
            places.setdefault(key, (start, end))
            scores[key] = scores.get(key, 0.0) + float(score)
    tokens = sum(window.ids.size for _, window in windows)
    answers = [
        Answer(context[start:end], scores[key], start, end, tokens=tokens) for key, (start, end) in places.items()
    ]
    if decoding.handle_impossible_answer:
        answers.append(Answer("", min(spans.null_score for spans, _ in windows), 0, 0, tokens=tokens))
    answers.sort(key=lambda answer: answer.score or 0.0, reverse=True)
    return tuple(answers[: decoding.top_k]) or (Answer.failure("no answer"),)


def character_span(window: Window, first: int, last: int, align_to_words: bool) -> tuple[int, int]:
    """Tokens `first` to `last`, inclusive, as code points of the context; grown to whole words if asked to."""
    if align_to_words:
        words = window.word_chars(first), window.word_chars(last)
        if words[0] and words[1]:
            return words[0][0], words[1][1]
    return window.chars(first)[0], window.chars(last)[1]


def are_apart(answers: Sequence[Answer]) -> bool:
    """Whether two answers share no letter of the context; "no answer" has none. False if there are not two."""
    places = sorted((each.start, each.end) for each in answers if each.start is not None and each.end is not None)
    return len(places) == 2 and places[0][1] <= places[1][0]
