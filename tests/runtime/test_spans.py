"""The fast search for spans against the plain one, on numbers made to tie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.spans import MASKED, Floats, candidate_spans


def plain_search(
    start: Floats, end: Floats, allowed: NDArray[np.bool_], count: int, longest: int
) -> list[tuple[int, int]]:
    """Every pair, best first; only for logits without ties."""
    probability = []
    for logits in (start, end):
        powers = np.exp(np.where(allowed, logits, MASKED) - np.where(allowed, logits, MASKED).max())
        powers = powers / powers.sum()
        powers[0] = 0
        probability.append(powers)
    pairs = [
        (probability[0][s] * probability[1][e], s, e)
        for s in range(len(start))
        for e in range(s, min(s + longest, len(start)))
    ]
    best = sorted(pairs, reverse=True)[:count]
    return [(s, e) for score, s, e in best if score > 0 and allowed[s] and allowed[e]]


@given(
    st.integers(12, 60), st.integers(0, 2**32 - 1), st.sampled_from([1, 12, 16, 50]), st.sampled_from([1, 7, 15, 50])
)
def test_spans_are_the_best_of_all_pairs(tokens: int, seed: int, count: int, longest: int) -> None:
    random = np.random.default_rng(seed)
    start, end = random.normal(0, 2, (2, tokens)).astype(np.float32)
    allowed = np.arange(tokens) >= 4
    allowed[0] = True
    found = candidate_spans(start, end, allowed, count=count, max_answer_len=longest)
    pairs = [pair for *pair, score in zip(found.starts, found.ends, found.scores, strict=True) if score > 0]
    assert [tuple(pair) for pair in pairs] == plain_search(start, end, allowed, count, longest)


def test_no_span_is_too_long_or_ends_before_it_starts() -> None:
    start, end = np.random.default_rng(1).normal(0, 3, (2, 100)).astype(np.float32)
    found = candidate_spans(start, end, np.ones(100, bool), count=50, max_answer_len=5)
    assert (found.ends >= found.starts).all()
    assert (found.ends < found.starts + 5).all()


def test_null_score_is_the_product_at_the_first_token() -> None:
    logits = np.array([2.0, 0.0, 0.0], np.float32)
    found = candidate_spans(logits, logits, np.ones(3, bool), count=1, max_answer_len=15)
    assert found.null_score == pytest.approx((np.exp(2) / (np.exp(2) + 2)) ** 2, rel=1e-6)
