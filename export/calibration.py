"""The confidence of a bundle that is being exported: the curve, its diagram, and the card that speaks of both."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export import bundle
from export.card import card
from export.evaluation import Row
from runtime import confidence
from runtime.manifest import Manifest
from runtime.rows import Ranking
from runtime.squad import exact_match

DIAGRAM = "reliability.svg"


def add_confidence(
    manifest: Manifest, folder: Path, rankings: Sequence[Ranking], rows: Sequence[Row], source: str
) -> Manifest:
    """The manifest with the curve that these rows give; writes the card and the diagram to `folder`."""
    labelled = [
        (confidence.features(ranking.answers[0], ranking.ratio), _is_right(ranking, row))
        for ranking, row in zip(rankings, rows, strict=True)
        if row.expected and not ranking.answers[0].error
    ]
    inputs = np.asarray([features for features, _ in labelled]).reshape(-1, 4)
    right = np.asarray([is_right for _, is_right in labelled], dtype=np.float64)
    curve = confidence.curve(inputs, right, source) if len(right) >= confidence.MIN_ROWS else None
    manifest = dataclasses.replace(manifest, confidence=curve)
    if curve:
        (folder / DIAGRAM).write_text(confidence.diagram(inputs, right), "utf-8")
    (folder / bundle.CARD).write_text(card(manifest, confidence.section(curve, inputs, right)), "utf-8")
    return manifest


def _is_right(ranking: Ranking, row: Row) -> float:
    return max(exact_match(ranking.answers[0].text or "", each) for each in row.expected)
