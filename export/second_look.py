"""The fp32 graph beside the int8 graph, and the ratio from which on it answers a row."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.evaluation import Row
from export.float_graph import write_float_graph
from export.verify import is_same
from runtime.answer import Answer
from runtime.answerer import Answerer
from runtime.bundle import FLOAT_MODEL
from runtime.manifest import SecondLook
from runtime.rows import Ranking

# Candidates, the cheapest first. Of 1,190 XQuAD rows no answer with a ratio below 0.79 differed from fp32's.
RATIOS = (0.98, 0.95, 0.92, 0.9, 0.88, 0.85, 0.82, 0.8, 0.75, 0.7)
TARGET = 0.998
FOLDS = 5
TIE = 1 - 1e-4
# Rows whose answers must stay as they are when weights are stored as float16, where fewer are near ties.
LEAST_CHECKED = 32


def write_second_look(
    float_model: Path,
    revision: str,
    folder: Path,
    int8_rankings: Sequence[Ranking],
    float_answers: Sequence[Answer],
    rows: Sequence[Row],
    answerer: Callable[[Path], Answerer],
) -> tuple[SecondLook, list[Ranking]]:
    """Writes the fp32 graph to `folder` and chooses the ratio.

    `float_answers` are the fp32 model's answers to the rows, `answerer` loads a graph. Returns what the manifest says,
    and the rankings of the rows with the second look.
    """
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
    ratios = np.asarray([ranking.ratio for ranking in int8_rankings])
    chosen, agreement = choose(ratios, without, with_look)
    final = [by_row[index] if ranking.ratio >= chosen else ranking for index, ranking in enumerate(int8_rankings)]
    return SecondLook(
        ratio=chosen,
        weights=weights,
        rows=len(rows),
        share=round(float((ratios >= chosen).mean()), 4),
        agreement=round(agreement, 4),
        agreement_without=round(float(without.mean()), 4),
        ties=sum(ranking.ratio > TIE for ranking in rankings),
    ), final


def choose(
    ratios: NDArray[np.float64], without: NDArray[np.bool_], with_look: NDArray[np.bool_]
) -> tuple[float, float]:
    """The ratio, and the agreement on folds that had no part in choosing theirs.

    For each fold the cheapest ratio is taken with which the other rows agree often enough; if the folds themselves
    then do not, all ratios become one step more careful. The most careful of them is the bundle's. `without` and
    `with_look` say of each row whether its answer is fp32's.
    """
    folds = np.arange(len(ratios)) % FOLDS
    places = [_cheapest(*(each[folds != fold] for each in (ratios, without, with_look))) for fold in range(FOLDS)]
    for step in range(len(RATIOS)):
        limits = [RATIOS[min(place + step, len(RATIOS) - 1)] for place in places]
        agreed = float(np.where(ratios >= np.take(limits, folds), with_look, without).mean())
        if agreed >= TARGET:
            break
    return min(limits), agreed


def _cheapest(ratios: NDArray[np.float64], without: NDArray[np.bool_], with_look: NDArray[np.bool_]) -> int:
    """The place in RATIOS of the first with which these rows agree often enough; the last if none does."""
    for place, ratio in enumerate(RATIOS):
        if len(ratios) and np.where(ratios >= ratio, with_look, without).mean() >= TARGET:
            return place
    return len(RATIOS) - 1


def _closest(rankings: Sequence[Ranking]) -> list[int]:
    """The rows that any candidate looks at again, and at least `LEAST_CHECKED`, those of the largest ratios first."""
    order = sorted(range(len(rankings)), key=lambda index: -rankings[index].ratio)
    near = sum(ranking.ratio >= RATIOS[-1] for ranking in rankings)
    return sorted(order[: max(near, LEAST_CHECKED)])
