"""What to export, and what the bundle must show."""

from collections.abc import Sequence
from dataclasses import dataclass

from export.evaluation import Row
from export.int8.recipe import Recipe
from export.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and what the bundle must show.

    Attributes:
        recipe: how to quantize; None for fp32.
        rows: rows to verify on and to measure activations on.
        thresholds: what the bundle must meet to be written.
        force: whether to write a bundle that misses the thresholds, and say so in it.
        sweep: whether to try other recipes too, and take the best.
        align_to_words: whether answers grow to whole words by default; None to find out on the rows.
        source: where the rows come from, in the words of the card.
        second_look: whether an int8 bundle also holds the fp32 graph, to answer near ties again.

    """

    recipe: Recipe | None
    rows: Sequence[Row]
    thresholds: Thresholds
    force: bool = False
    sweep: bool = False
    align_to_words: bool | None = None
    second_look: bool = True
    source: str = "the samples"
