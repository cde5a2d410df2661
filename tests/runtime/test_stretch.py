"""A bundle's own curve, calibrated anew: few labels leave a good curve alone, and many mend a wrong one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import confidence
from runtime.answer import Answer
from runtime.manifest import Confidence

Floats = NDArray[np.float64]
KNOWN = np.asarray([1.5, 0.8, -1.0, -0.5])


def likely(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-odds)))


def answered(rows: int, seed: int, *, shift: float = 0.0, slope: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Features, labels, and how likely each answer is right: log-odds are those of KNOWN, stretched and shifted."""
    random_numbers = np.random.default_rng(seed)
    score, second = random_numbers.uniform(0.02, 0.98, rows), random_numbers.uniform(0, 1, rows)
    words = random_numbers.integers(1, 8, rows)
    inputs = np.stack([np.ones(rows), np.log(score / (1 - score)), second, np.log1p(words)], axis=1)
    sure = likely(shift + slope * (inputs @ KNOWN))
    return inputs, (random_numbers.uniform(size=rows) < sure).astype(float), sure


def test_few_labels_leave_a_good_curve_alone() -> None:
    """Of labels that the curve explains, most move it not at all, and none so far that it would matter."""
    moved = []
    for seed in range(60):
        inputs, right, sure = answered(120, seed)
        moved.append(np.abs(likely(inputs @ confidence.fit(inputs, right, KNOWN)) - sure).mean())
    assert np.mean(np.asarray(moved) == 0) > 0.5
    assert np.mean(moved) < 0.015


@pytest.mark.parametrize(("shift", "slope"), [(-1.0, 0.6), (0.8, 1.5), (-0.5, 1.0), (0.0, 0.5)])
def test_labels_that_contradict_the_curve_move_it(shift: float, slope: float) -> None:
    """With 200 of them by a third of the way or more in the mean, with 5,000 by all of it."""
    distances = []
    for seed in range(20):
        inputs, right, sure = answered(200, seed, shift=shift, slope=slope)
        curves = KNOWN, confidence.fit(inputs, right, KNOWN)
        distances.append([np.abs(likely(inputs @ curve) - sure).mean() for curve in curves])
    before, after = np.mean(distances, axis=0)
    assert after < 0.65 * before
    inputs, right, sure = answered(5000, 0, shift=shift, slope=slope)
    assert np.abs(likely(inputs @ confidence.fit(inputs, right, KNOWN)) - sure).mean() < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_a_stretched_curve_never_falls_where_the_score_rises(seed: int) -> None:
    """Also where all labels say the opposite of the score, or all the same."""
    inputs, right, _ = answered(150, seed)
    against = (inputs[:, 1] < np.median(inputs[:, 1])).astype(float)
    for labels in (right, 1 - right, against, np.ones_like(right), np.zeros_like(right)):
        coefficients = confidence.fit(inputs, labels, KNOWN)
        assert np.isfinite(coefficients).all()
        curve = Confidence(tuple(map(float, coefficients)), 150, "rows", 0.0)
        sure = [
            confidence.of_answer(curve, Answer("a b", float(score), 0, 3), 0.4) for score in np.linspace(0, 1.3, 60)
        ]
        assert sure == sorted(sure)
        assert abs(likely(inputs @ coefficients).mean() - labels.mean()) < 0.15


def test_labels_against_the_score_leave_their_share_for_all() -> None:
    """Then the score tells hardly anything, and rows get the share that is right in the mean."""
    inputs, _, _ = answered(400, 3)
    against = (inputs[:, 1] < np.quantile(inputs[:, 1], 0.3)).astype(float)
    coefficients = confidence.fit(inputs, against, KNOWN)
    assert 0 <= coefficients[1] < 0.05
    assert likely(inputs @ coefficients).mean() == pytest.approx(0.3, abs=0.03)


def test_one_feature_may_move_alone() -> None:
    """Labels of other rows than the curve's: there the ratio tells more, and all else what it told before."""
    inputs, _, _ = answered(2000, 1)
    other = KNOWN + np.asarray([0.0, 0.0, -2.0, 0.0])
    right = (np.random.default_rng(2).uniform(size=2000) < likely(inputs @ other)).astype(float)
    moved = confidence.fit(inputs, right, KNOWN)
    assert np.abs(likely(inputs @ moved) - likely(inputs @ other)).mean() < 0.03


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("known", [(3.0, 1.0, -1.0, -1.0), (12.0, 3.0, -1.0, -0.5), (-9.0, 0.5, 0.0, 0.0)])
def test_a_curve_that_is_sure_and_wrong_is_moved(known: tuple[float, ...], share: float) -> None:
    """Newton's steps went from one extreme to the other and back: a bundle that was 98% sure of answers of which a
    quarter was right stayed as it was.
    """
    inputs, _, _ = answered(150, 5)
    inputs[:, 1] = np.abs(inputs[:, 1])
    right = (np.arange(150) < share * 150).astype(float)
    sure = likely(inputs @ confidence.fit(inputs, right, np.asarray(known)))
    assert sure.mean() == pytest.approx(share, abs=0.12)
