"""The fp32 graph beside the int8 graph, and the ratio from which on it answers a row."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.evaluation import Row
from export.float_graph import write_float_graph
from export.verify import best_answers, is_same
from runtime.answerer import Answerer
from runtime.bundle import FLOAT_MODEL
from runtime.manifest import SecondLook
from runtime.rows import Ranking

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Candidates, the cheapest first. Of 1,795 rows of SQuADShifts none with a closeness below 0.88 differed from fp32's, of
# 595 of XQuAD none below 0.91.
RATIOS = tuple(hundredths / 100 for hundredths in range(99, 69, -1))
TARGET = 0.998
FOLDS = 5
TIE = 1 - 1e-4
# Below this closeness a row says nothing about near ties, and a score may be as small as float32 can tell.
_FAR = 0.01
# At least so many rows must keep their answers when weights are stored as float16, even if fewer are near ties.
LEAST_CHECKED = 32
# With fewer rows that int8 was not fitted to, its error is measured on all rows.
LEAST_FRESH = 50


def write_second_look(
    float_model: Path,
    revision: str,
    folder: Path,
    int8_rankings: Sequence[Ranking],
    float_rankings: Sequence[Ranking],
    rows: Sequence[Row],
    observed: Bools,
    answerer: Callable[[Path], Answerer],
) -> tuple[SecondLook, list[Ranking]]:
    """Writes the fp32 graph to `folder` and chooses the ratio.

    `observed` says which rows the int8 graph was fitted to. `answerer` loads a graph. Returns what the manifest says,
    and the rankings of the rows with the second look.
    """
    float_answers = best_answers(float_rankings)
    checked = _closest(int8_rankings)
    second = folder / FLOAT_MODEL

    def read_again() -> list[Ranking]:
        pairs = ((rows[index].question, rows[index].context) for index in checked)
        return list(answerer(second).rankings(pairs))

    def is_right(rankings: Sequence[Ranking]) -> bool:
        return all(
            is_same(ranking.answers[0], float_answers[index]) for index, ranking in zip(checked, rankings, strict=True)
        )

    weights = "float16"
    small = write_float_graph(float_model, second, revision, halve=True)
    if not small or not is_right(rankings := read_again()):
        logging.info("weights in float16 change an answer, so they are stored as float32")
        weights = "float32"
        write_float_graph(float_model, second, revision, halve=False)
        rankings = read_again()
    by_row = dict(zip(checked, rankings, strict=True))
    without = np.asarray(
        [is_same(ranking.answers[0], answer) for ranking, answer in zip(int8_rankings, float_answers, strict=True)]
    )
    with_look = np.asarray(
        [
            is_same(by_row.get(index, ranking).answers[0], float_answers[index])
            for index, ranking in enumerate(int8_rankings)
        ]
    )
    closeness = np.asarray([ranking.closeness for ranking in int8_rankings])
    # Kept answers do not say whether fp32's two best are apart; they are the same two where it matters.
    pairs = zip(float_rankings, int8_rankings, strict=True)
    float_closeness = np.asarray([ranking._replace(apart=one.apart).closeness for ranking, one in pairs])
    chosen = choose(closeness, float_closeness, without, observed)
    again = closeness >= chosen
    final = [by_row[index] if again[index] else ranking for index, ranking in enumerate(int8_rankings)]
    return SecondLook(
        ratio=chosen,
        weights=weights,
        rows=len(rows),
        share=round(float(again.mean()), 4),
        agreement=round(float(np.where(again, with_look, without).mean()), 4),
        agreement_without=round(float(without.mean()), 4),
        ties=sum(ranking.ratio > TIE for ranking in rankings),
    ), final


def choose(closeness: Floats, float_closeness: Floats, same: Bools, observed: Bools) -> float:
    """The cheapest ratio with which enough rows are expected to agree with fp32.

    `same` says of each row whether its answer is fp32's. Few rows differ, too few to choose by. But in every row int8
    moves the gap between the two best answers, and an answer that nobody looks at again differs where that reverses
    them and opens a gap as wide as the ratio.
    """
    gaps, scales = _gaps(float_closeness), noise(closeness, float_closeness, same, observed)
    allowed = (1 - TARGET) * len(gaps)
    for ratio in RATIOS:
        expected = np.exp(-np.logaddexp(0, (gaps - np.log(ratio)) / scales)).sum()
        # Two standard errors more than allowed, and rows differ that are no near ties.
        counted = (~same & (closeness < ratio)).sum()
        if expected <= allowed and counted <= allowed + 2 * np.sqrt(allowed):
            break
    return ratio


def noise(closeness: Floats, float_closeness: Floats, same: Bools, observed: Bools) -> Floats:
    """The scale of int8's error in the gap between the two best answers, by the rows in other folds, (rows,).

    The gap is the negative logarithm of the closeness. Its error, int8's gap less fp32's, is as large in rows with a
    narrow gap as in others, and follows a logistic distribution far better than a normal one. Rows that int8 was fitted
    to have a smaller error, 0.046 where the others have 0.060 (samples), so they count only where others are few.
    """
    float_gaps = _gaps(float_closeness)
    errors = _gaps(closeness) - np.where(same, float_gaps, -float_gaps)
    telling = closeness > _FAR
    if (telling & ~observed).sum() >= LEAST_FRESH:
        telling &= ~observed
    folds, scales = np.arange(len(errors)) % FOLDS, np.empty(len(errors))
    for fold in range(FOLDS):
        others = errors[(folds != fold) & telling]
        scales[folds == fold] = max(_scale(others), 1e-9) if others.size else np.inf
    return scales


def _gaps(closeness: Floats) -> Floats:
    return np.asarray(-np.log(np.maximum(closeness, _FAR)))


def _scale(errors: Floats) -> float:
    """The logistic distribution's scale, a standard error above the one measured: few rows make the ratio careful."""
    deviation = np.sqrt(np.mean(errors**2))
    # Var(s) / s² = (kurtosis - 1) / 4n, and a logistic distribution's kurtosis is 4.2.
    standard_error = deviation * np.sqrt(0.8 / errors.size)
    return float((deviation + standard_error) * np.sqrt(3) / np.pi)


def _closest(rankings: Sequence[Ranking]) -> list[int]:
    """The rows that any candidate looks at again, and at least `LEAST_CHECKED`, the closest first."""
    order = sorted(range(len(rankings)), key=lambda index: -rankings[index].closeness)
    near = sum(ranking.closeness >= RATIOS[-1] for ranking in rankings)
    return sorted(order[: max(near, LEAST_CHECKED)])
