"""How likely an answer is right: a logistic curve over few features, fitted on labelled rows.

    confidence = 1 / (1 + exp(-(c0 + c1 * logit(score) + c2 * ratio + c3 * log(1 + words))))

`score` is the answer's, clipped to [0.0001, 0.9999], `ratio` the second-best answer's score as a share of the best
one's, `words` those of the answer. c1 is never negative, so confidence never falls where the score rises.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.answer import Answer
from runtime.manifest import Confidence

Matrix = NDArray[np.float64]

# With fewer labelled rows a curve says more about these rows than about the model.
MIN_ROWS = 100
FOLDS, BINS = 5, 10
_CLIP = 1e-4
# Of a standardised coefficient; it keeps the curve finite where the rows can be told apart without an error.
_RIDGE = 1.0
# Twice the log likelihood that coefficients gain on labels that say nothing new: one for each of the four (Wilks).
_GAIN_BY_CHANCE = 4.0
_STEPS = 50
_STILL = 1e-9


def ratio(answers: Sequence[Answer]) -> float:
    """The second-best answer's score as a share of the best one's; 0 if there is no second, or no score."""
    scores = [answer.score for answer in answers[:2] if answer.score is not None]
    return scores[1] / scores[0] if len(scores) == 2 and scores[0] > 0 else 0.0


def of_answer(curve: Confidence, answer: Answer, second: float) -> float:
    """The confidence of a row's best answer, 0..1; `second` is the row's ratio."""
    return float(_sigmoid(features(answer, second) @ np.asarray(curve.coefficients)))


def features(answer: Answer, second: float) -> Matrix:
    """The features of an answer, (4,), the constant first."""
    score = min(max(answer.score or 0.0, _CLIP), 1 - _CLIP)
    words = len((answer.text or "").split())
    return np.asarray([1.0, np.log(score / (1 - score)), min(second, 1.0), np.log1p(words)])


def fit(inputs: Matrix, right: Matrix, known: Matrix | None = None) -> Matrix:
    """Coefficients, (4,), for features (rows, 4) and whether each answer is right, (rows,): ridge-penalised IRLS.

    The coefficients `known` of an earlier curve move only as far as these rows justify: some hundred labels would also
    move a curve that was right, and make it worse. So only that share of the best-fitting move is made which chance
    does not explain: none if the labels are as likely under the earlier curve, nearly all if they contradict it or are
    many.
    """
    if known is None:
        return _rising(inputs, _soft_labels(right), np.zeros(4), np.asarray([0.0, _RIDGE, _RIDGE, _RIDGE]))
    moved = _rising(inputs, right, known, np.full(4, _RIDGE))
    gain = 2 * (_log_likelihood(inputs @ moved, right) - _log_likelihood(inputs @ known, right))
    believed = 1 - _GAIN_BY_CHANCE / gain if gain > _GAIN_BY_CHANCE else 0.0
    return np.asarray(known + believed * (moved - known))


def calibration_error(sure: Matrix, right: Matrix) -> float:
    """Expected calibration error: mean distance of confidence and share right over ten bins, weighted by their rows."""
    return sum(rows * abs(mean - share) for rows, mean, share in reliability(sure, right)) / len(sure)


def reliability(sure: Matrix, right: Matrix) -> list[tuple[int, float, float]]:
    """For each bin with rows: their number, their mean confidence, and the share of them that is right."""
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        (int(inside.sum()), float(sure[inside].mean()), float(right[inside].mean()))
        for inside in (places == place for place in range(BINS))
        if inside.any()
    ]


def out_of_fold_confidence(inputs: Matrix, right: Matrix, known: Matrix | None = None) -> Matrix:
    """The confidence of each row by a curve that was fitted without its fold, (rows,)."""
    sure = np.empty(len(right))
    for fold in range(FOLDS):
        held = np.arange(len(right)) % FOLDS == fold
        sure[held] = _sigmoid(inputs[held] @ fit(inputs[~held], right[~held], known))
    return sure


def curve(inputs: Matrix, right: Matrix, source: str, known: Matrix | None = None) -> Confidence:
    """The curve fitted on all rows, with the error of those fitted without a fold."""
    error = calibration_error(out_of_fold_confidence(inputs, right, known), right)
    coefficients = tuple(round(float(value), 6) for value in fit(inputs, right, known))
    return Confidence(coefficients, len(right), source, round(error, 4))


def section(curve: Confidence | None, inputs: Matrix, right: Matrix, known: Matrix | None = None) -> str:
    """The card's section on confidence, Markdown."""
    if curve is None:
        return (
            f"## Confidence\n\nNone: {len(right)} labelled rows are too few to fit one; it takes {MIN_ROWS}. "
            "`answermill calibrate` fits one to rows of your own."
        )
    sure = out_of_fold_confidence(inputs, right, known)
    lines = []
    for limit in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9):
        accepted = sure >= limit
        if accepted.any():
            lines.append(f"| {limit:.1f} | {accepted.mean():.0%} | {right[accepted].mean():.0%} |")
    return "\n".join(
        [
            "## Confidence",
            "",
            f"Fitted on {curve.rows} labelled rows of {curve.source}; right is an exact match. On rows left out of the "
            f"fit confidence and the share of right answers are {curve.calibration_error:.3f} apart (expected "
            "calibration error).",
            "",
            "![Share of right answers by confidence](reliability.svg)",
            "",
            "| accept above | share of rows | of them right |",
            "| ---: | ---: | ---: |",
            *lines,
        ]
    )


def diagram(inputs: Matrix, right: Matrix, known: Matrix | None = None) -> str:
    """The reliability diagram as SVG: the dots of a good confidence lie on the diagonal."""
    points = reliability(out_of_fold_confidence(inputs, right, known), right)
    most = max(rows for rows, *_ in points)
    dots = "".join(
        f'<circle cx="{40 + 200 * mean:.1f}" cy="{220 - 200 * share:.1f}" r="{3 + 7 * (rows / most) ** 0.5:.1f}">'
        f"<title>confidence {mean:.2f}: {share:.0%} of {rows} right</title></circle>"
        for rows, mean, share in points
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 260 260" width="260" height="260" role="img" '
        'aria-label="Share of right answers by confidence"><rect width="260" height="260" fill="#fff"/>'
        '<path d="M40 20V220H240M40 220L240 20" fill="none" stroke="#888"/>'
        f'<g fill="#0f6b62" fill-opacity="0.8">{dots}</g><g font-family="sans-serif" font-size="11" fill="#333">'
        '<text x="140" y="245" text-anchor="middle">confidence</text>'
        '<text x="14" y="120" text-anchor="middle" transform="rotate(-90 14 120)">share right</text></g></svg>\n'
    )


def _rising(inputs: Matrix, right: Matrix, prior: Matrix, penalty: Matrix) -> Matrix:
    """The most likely coefficients with which confidence never falls where the score rises."""
    coefficients = _standard_fit(inputs, right, prior, penalty)
    if coefficients[1] >= 0:
        return coefficients
    without_score = np.asarray([1.0, 0.0, 1.0, 1.0])
    return _standard_fit(inputs * without_score, right, prior * without_score, penalty)


def _standard_fit(inputs: Matrix, right: Matrix, prior: Matrix, penalty: Matrix) -> Matrix:
    """The most likely coefficients, each held to its prior by `penalty` as if all features varied equally."""
    center, spread = inputs.mean(axis=0), inputs.std(axis=0)
    center[0] = 0.0
    scale = np.where(spread > 1e-9, spread, 1.0)
    start = prior * scale
    start[0] = prior @ center + prior[0]
    coefficients = _most_likely((inputs - center) / scale, right, start, penalty) / scale
    coefficients[0] -= coefficients @ center
    return np.asarray(coefficients)


def _soft_labels(right: Matrix) -> Matrix:
    """The labels as Platt (1999) fits them, so that a hundred right answers of a hundred make 0.99 and never 1."""
    ones = right.sum()
    return np.asarray(np.where(right > 0, (ones + 1) / (ones + 2), 1 / (len(right) - ones + 2)))


def _most_likely(inputs: Matrix, right: Matrix, prior: Matrix, penalty: Matrix) -> Matrix:
    """Logistic weights by Newton's method; `penalty` holds each to its prior.

    A step that makes the rows less likely is halved: where a curve is sure of something that the labels deny, whole
    steps would swing from one extreme to the other.
    """

    def goal(weights: Matrix) -> float:
        return _log_likelihood(inputs @ weights, right) - float(penalty @ (weights - prior) ** 2) / 2

    weights, reached = prior, goal(prior)
    for _ in range(_STEPS):
        sure = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (right - sure) - penalty * (weights - prior)
        curvature = (inputs * (sure * (1 - sure))[:, None]).T @ inputs + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        while goal(weights + step) < reached and float(np.abs(step).max()) >= _STILL:
            step = step / 2
        if float(np.abs(step).max()) < _STILL:
            break
        weights = weights + step
        reached = goal(weights)
    return weights


def _log_likelihood(odds: Matrix, right: Matrix) -> float:
    return float(np.sum(right * odds - np.logaddexp(0.0, odds)))


def _sigmoid(value: Matrix) -> Matrix:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -60, 60))))
