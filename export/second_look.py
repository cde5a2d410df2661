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

# Candidates, the cheapest first. Of 1,190 XQuAD rows no answer with a ratio below 0.79 differed from fp32's.
RATIOS = tuple(hundredths / 100 for hundredths in range(99, 69, -1))
TARGET = 0.998
FOLDS = 5
TIE = 1 - 1e-4
# Below this ratio a row says nothing about near ties, and a score may be as small as float32 can tell.
_FAR = 0.01
# Rows whose answers must stay as they are when weights are stored as float16, where fewer are near ties.
LEAST_CHECKED = 32


def write_second_look(
    float_model: Path,
    revision: str,
    folder: Path,
    int8_rankings: Sequence[Ranking],
    float_rankings: Sequence[Ranking],
    rows: Sequence[Row],
    answerer: Callable[[Path], Answerer],
) -> tuple[SecondLook, list[Ranking]]:
    """Writes the fp32 graph to `folder` and chooses the ratio.

    `answerer` loads a graph. Returns what the manifest says, and the rankings of the rows with the second look.
    """
    float_answers = best_answers(float_rankings)
    again = _closest(int8_rankings)
    second = folder / FLOAT_MODEL

    def read_again() -> list[Ranking]:
        pairs = ((rows[index].question, rows[index].context) for index in again)
        return list(answerer(second).rankings(pairs))

    def is_right(rankings: Sequence[Ranking]) -> bool:
        return all(
            is_same(ranking.answers[0], float_answers[index]) for index, ranking in zip(again, rankings, strict=True)
        )

    weights = "float16"
    small = write_float_graph(float_model, second, revision, halve=True)
    if not small or not is_right(rankings := read_again()):
        logging.info("weights in float16 change an answer, so they are stored as float32")
        weights = "float32"
        write_float_graph(float_model, second, revision, halve=False)
        rankings = read_again()
    by_row = dict(zip(again, rankings, strict=True))
    without = np.asarray(
        [is_same(ranking.answers[0], answer) for ranking, answer in zip(int8_rankings, float_answers, strict=True)]
    )
    with_look = np.asarray(
        [
            is_same(by_row.get(index, ranking).answers[0], float_answers[index])
            for index, ranking in enumerate(int8_rankings)
        ]
    )
    ratios, float_ratios = (np.asarray([ranking.ratio for ranking in each]) for each in (int8_rankings, float_rankings))
    chosen = choose(ratios, float_ratios, without, with_look)
    final = [by_row[index] if ranking.ratio >= chosen else ranking for index, ranking in enumerate(int8_rankings)]
    return SecondLook(
        ratio=chosen,
        weights=weights,
        rows=len(rows),
        share=round(float((ratios >= chosen).mean()), 4),
        agreement=round(float(np.where(ratios >= chosen, with_look, without).mean()), 4),
        agreement_without=round(float(without.mean()), 4),
        ties=sum(ranking.ratio > TIE for ranking in rankings),
    ), final


def choose(ratios: Floats, float_ratios: Floats, without: NDArray[np.bool_], with_look: NDArray[np.bool_]) -> float:
    """The cheapest ratio with which as many rows as wanted are to be expected to agree with fp32.

    `without` and `with_look` say of each row whether its answer is fp32's. Few rows differ, too few to choose by. But
    in every row int8 moves the gap between the two best answers, and an answer differs where that closes the gap.
    """
    flips = flip_chances(ratios, float_ratios, without)
    for ratio in RATIOS:
        if np.where(ratios >= ratio, with_look, 1 - flips).mean() >= TARGET:
            break
    return ratio


def flip_chances(ratios: Floats, float_ratios: Floats, same: NDArray[np.bool_]) -> Floats:
    """How likely int8's noise reverses the two best answers of each row, (rows,).

    The gap is the difference of the logarithms of their scores, and its error, int8's gap less fp32's, is as large in
    rows with a narrow gap as in others. It follows a logistic distribution far better than a normal one. Each row is
    judged by the errors of the rows in other folds.
    """
    gaps, float_gaps = (-np.log(np.maximum(each, _FAR)) for each in (ratios, float_ratios))
    errors = gaps - np.where(same, float_gaps, -float_gaps)
    folds, chances = np.arange(len(ratios)) % FOLDS, np.empty(len(ratios))
    for fold in range(FOLDS):
        held = folds == fold
        others = errors[~held & (ratios > _FAR)]
        scale = max(_scale(others), 1e-9) if others.size else np.inf
        chances[held] = np.exp(-np.logaddexp(0, gaps[held] / scale))
    return chances


def _scale(errors: Floats) -> float:
    """The logistic distribution's scale, a standard error above the one measured: few rows make the ratio careful."""
    deviation = np.sqrt(np.mean(errors**2))
    # Var(s) / s² = (kurtosis - 1) / 4n, and a logistic distribution's kurtosis is 4.2.
    standard_error = deviation * np.sqrt(0.8 / errors.size)
    return float((deviation + standard_error) * np.sqrt(3) / np.pi)


def _closest(rankings: Sequence[Ranking]) -> list[int]:
    """The rows that any candidate looks at again, and at least `LEAST_CHECKED`, those of the largest ratios first."""
    order = sorted(range(len(rankings)), key=lambda index: -rankings[index].ratio)
    near = sum(ranking.ratio >= RATIOS[-1] for ranking in rankings)
    return sorted(order[: max(near, LEAST_CHECKED)])
