"""Whether a tokenizer's words and offsets fit the text: measured on the rows that an export verifies on."""

from collections.abc import Iterable, Sequence
from typing import Any

from export.evaluation import Row
from runtime.answer import Answer
from runtime.errors import ExportError

# Above this share of answers that are their whole context, the tokenizer takes whole sentences for words.
MOST_WHOLE = 0.5
# The largest share of letters that may lie in no token. RobBERT's tokenizer loses the first of each word, one in five.
MOST_UNCOVERED = 0.02
# Contexts looked at.
SAMPLE = 200


def check_offsets(tokenizer: Any, rows: Sequence[Row], name: str) -> None:
    """Raises ExportError for a tokenizer whose offsets leave out letters, so that answers would begin inside a word."""
    lost = uncovered_letters(tokenizer, (row.context for row in rows[:SAMPLE]))
    if lost > MOST_UNCOVERED:
        raise ExportError(
            f"{name}: its tokenizer's offsets leave out {lost:.0%} of the letters, so answers begin inside a word "
            '("he" for "the"); set "trim_offsets" to false in tokenizer_config.json, and in tokenizer.json where '
            "post_processor has it"
        )


def uncovered_letters(tokenizer: Any, contexts: Iterable[str]) -> float:
    """The share of the letters and digits that lie within no token's offsets."""
    letters = lost = 0
    for context in contexts:
        covered: set[int] = set()
        for start, end in tokenizer.encode(context, add_special_tokens=False).offsets:
            covered.update(range(start, end))
        places = [place for place, character in enumerate(context) if character.isalnum()]
        letters += len(places)
        lost += sum(place not in covered for place in places)
    return lost / letters if letters else 0.0


def whole_contexts(answers: Sequence[Answer], rows: Sequence[Row]) -> float:
    """The share of the answered rows whose answer is the whole context."""
    pairs = [(answer.text, row.context) for answer, row in zip(answers, rows, strict=True) if answer.text]
    return sum(text.strip() == context.strip() for text, context in pairs) / len(pairs) if pairs else 0.0
