"""SQuAD's own metric: exact match and F1 of normalised answers, as its official evaluation defines them."""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, expected: str) -> float:
    """1.0 if the normalised texts are equal, else 0.0."""
    return float(normalise(answer) == normalise(expected))


def f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over normalised words; if one is empty, 1.0 only if both are."""
    answer_words, wanted = normalise(answer).split(), normalise(expected).split()
    if not answer_words or not wanted:
        return float(answer_words == wanted)
    shared = sum((Counter(answer_words) & Counter(wanted)).values())
    return 2 * shared / (len(answer_words) + len(wanted))
