"""Logits of one window -> candidate spans: pure arithmetic on numpy arrays.

Behaviour is that of transformers 4.57's question-answering pipeline, down to float32 rounding and the order of
ties, so that answers of an fp32 bundle equal that pipeline's.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

# Logit of a token that may not be in an answer.
MASKED = np.float32(-10000.0)


class Spans(NamedTuple):
    """Candidate spans of one window, best first.

    Attributes:
        starts: first tokens, (n,).
        ends: last tokens, inclusive, (n,).
        scores: start probability times end probability, (n,).
        null_score: the same product for the first token ([CLS]), the window's "no answer".

    """

    starts: Indices
    ends: Indices
    scores: Floats
    null_score: float


def candidate_spans(
    start_logits: Floats,
    end_logits: Floats,
    allowed: NDArray[np.bool_],
    *,
    count: int,
    max_answer_len: int,
) -> Spans:
    """The best `count` spans of one window; fewer if spans begin or end on tokens that are not allowed.

    Arguments have shape (tokens,). `allowed` marks context tokens and every [CLS].
    """
    start = _probabilities(start_logits, allowed)
    end = _probabilities(end_logits, allowed)
    null_score = float(start[0] * end[0])
    start[0] = end[0] = 0.0
    starts, ends, scores = _best(start, end, count, max_answer_len)
    keep = allowed[starts] & allowed[ends]
    return Spans(starts[keep], ends[keep], scores[keep], null_score)


def _probabilities(logits: Floats, allowed: NDArray[np.bool_]) -> Floats:
    masked = np.where(allowed, logits, MASKED)
    powers = np.exp(masked - masked.max())
    return np.asarray(powers / powers.sum())


def _best(start: Floats, end: Floats, count: int, max_answer_len: int) -> tuple[Indices, Indices, Floats]:
    """Token pairs with `start <= end < start + max_answer_len`, largest products first."""
    tokens = len(start)
    width = min(max_answer_len, tokens)
    reach = np.concatenate([end, np.zeros(width - 1, np.float32)])
    band = (start[:, None] * sliding_window_view(reach, width)).ravel()
    if count == 1:
        best = np.asarray([band.argmax()])
    elif band.size <= count:
        return _best_with_ties(start, end, count, width)
    else:
        best = np.argpartition(-band, count)[: count + 1]
        best = best[np.argsort(-band[best])]
        scores = band[best]
        if not (scores[:-1] > scores[1:]).all() or scores[-2] == 0.0:
            return _best_with_ties(start, end, count, width)
        best = best[:count]
    rows, lengths = np.divmod(best, width)
    return rows, rows + lengths, band[best]


def _best_with_ties(start: Floats, end: Floats, count: int, width: int) -> tuple[Indices, Indices, Floats]:
    """As `_best`, on the whole matrix of products.

    Which of equal products comes first is whatever numpy's partial sort makes of this very layout; that is how the
    reference resolves ties. Pairs that are too long or end before they start take part here, with a score of 0, and
    fill up if fewer than `count` spans score more. For 384 tokens this takes 2.2 ms and the band 0.09 ms, so only
    ties and tiny windows come here.
    """
    products = np.tril(np.triu(start[:, None] * end[None, :]), width - 1).ravel()
    if products.size <= count:
        best = np.argsort(-products)
    else:
        best = np.argpartition(-products, count)[:count]
        best = best[np.argsort(-products[best])]
    return *np.divmod(best, len(start)), products[best]
