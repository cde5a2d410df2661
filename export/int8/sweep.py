"""Picks the recipe that gives the smallest bundle that still answers well."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from export.int8.recipe import PORTABLE_PAIR_LIMIT, Recipe
from export.thresholds import Thresholds
from export.verify import Accuracy
from runtime.errors import ExportError

# Sizes this close count as equal, and agreement decides: one megabyte in twenty is a fair price for better answers.
SAME_SIZE = 0.05


class Trial(NamedTuple):
    """The outcome of a recipe: size in bytes, share of rows answered as in fp32, SQuAD's figures, rows per second."""

    name: str
    recipe: Recipe
    size: int
    agreement: float
    accuracy: Accuracy | None
    rows: float


def candidates(default: Recipe) -> dict[str, Recipe]:
    """The recipes to try: the default, and the default with one or two things changed.

    Recipes that are not portable are tried for a portable target too, for comparison, and never chosen for it.
    """
    change = dataclasses.replace
    other = "avx512_vnni" if default.target == "portable" else "portable"
    return {
        "default": default,
        "one scale per product": change(default, per_channel=False),
        "weights of any size" if default.pair_limit == PORTABLE_PAIR_LIMIT else "portable": change(
            default, target=other
        ),
        "rounded to nearest": change(default, gptq=False),
        "inputs untreated": change(default, split_outliers=False),
        "untreated, nearest": change(default, split_outliers=False, gptq=False),
        "one scale a window": change(default, by_token=False),
        "static scales": change(default, static=True),
        "static, untreated": change(default, static=True, split_outliers=False),
        "embeddings fp32": change(default, embeddings=False),
        "head int8": change(default, float_products=()),
        "first layer fp32": change(default, float_products=(*default.float_products, "layer.0/")),
    }


def best(trials: Sequence[Trial], floor: Accuracy | None, thresholds: Thresholds, count: int) -> Trial:
    """The smallest trial within the thresholds; among sizes within `SAME_SIZE`, the one that agrees most.

    Of trials that `count` rows cannot tell apart, being within a standard error, the first. Raises ExportError if no
    trial is within the thresholds.
    """
    pair_limit = trials[0].recipe.pair_limit
    good = [
        trial
        for trial in trials
        if trial.recipe.pair_limit <= pair_limit
        and trial.agreement >= thresholds.agreement
        and (not trial.accuracy or not floor or floor.f1 - trial.accuracy.f1 <= thresholds.f1_drop)
    ]
    if not good:
        raise ExportError(
            f"no recipe of the sweep stays within {thresholds.f1_drop} points of F1 and agrees on "
            f"{thresholds.agreement:.0%} of rows; raise --max-f1-drop, or lower --min-agreement"
        )
    smallest = min(trial.size for trial in good)
    close = [trial for trial in good if trial.size <= smallest * (1 + SAME_SIZE)]
    most = max(trial.agreement for trial in close)
    chance = math.sqrt(most * (1 - most) / count)
    return next(trial for trial in close if trial.agreement >= most - chance)


def table(trials: Sequence[Trial], floor: Accuracy | None) -> list[str]:
    """Markdown, one line per recipe; EM and F1 of the fp32 model in the head."""
    exact, overlap = (f"{figure:.1f}" for figure in floor) if floor else ("none", "none")
    lines = [
        f"| recipe | MB | agrees with fp32 | EM (fp32 {exact}) | F1 (fp32 {overlap}) | rows/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for trial in trials:
        exact, overlap = (f"{figure:.1f}" for figure in trial.accuracy or (math.nan, math.nan))
        figures = f"{trial.size / 1e6:.1f} | {trial.agreement:.1%} | {exact} | {overlap} | {trial.rows:.1f}"
        lines.append(f"| {trial.name} | {figures} |")
    return lines
