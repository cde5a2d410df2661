"""Measures a bundle: logits, agreement with fp32, and accuracy. `thresholds.py` judges the figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from export.evaluation import Row
from runtime import Answer, Answerer
from runtime.squad import exact_match, f1
from runtime.windows import Window, Windower

# Number of windows on which logits are compared, spread over the lengths that the rows offer.
COMPARED_WINDOWS = 32
# Number of windows on which activations are measured for quantization.
CALIBRATION_WINDOWS = 128


class Accuracy(NamedTuple):
    """SQuAD's figures in percent, over the rows with an expected answer."""

    exact_match: float
    f1: float


def spread_of_windows(windower: Windower, rows: Sequence[Row], count: int) -> list[Window]:
    """At most `count` windows of the rows, evenly spread from the shortest to the longest."""
    windows = [window for row in rows for window in windower.windows(row.question, row.context)]
    windows.sort(key=lambda window: window.ids.size)
    picked = np.linspace(0, len(windows) - 1, min(count, len(windows)))
    return [windows[int(index)] for index in picked]


def torch_difference(model: Any, answerer: Answerer, windows: Sequence[Window]) -> float:
    """Largest difference of a logit between the torch model and the ONNX one."""
    import torch

    largest = 0.0
    for window in windows:
        feed = {"input_ids": torch.from_numpy(window.ids)}
        if answerer.bundle.manifest.inputs.token_types:
            feed["token_type_ids"] = torch.from_numpy(window.type_ids)
        with torch.no_grad():
            output = model(**feed)
        wanted = output.start_logits[0].numpy(), output.end_logits[0].numpy()
        largest = max(largest, _difference(wanted, answerer.logits(window)))
    return largest


def logit_difference(one: Answerer, other: Answerer, windows: Sequence[Window]) -> float:
    """Largest difference of a logit between two bundles of one checkpoint."""
    return max(_difference(one.logits(window), other.logits(window)) for window in windows)


def answers(answerer: Answerer, rows: Sequence[Row]) -> list[Answer]:
    """The best answer to each row."""
    return list(answerer.answer((row.question, row.context) for row in rows))


def agreement(answers: Sequence[Answer], wanted: Sequence[Answer]) -> float:
    """Share of rows with the same text at the same place."""
    same = [
        (one.text, one.start, one.end) == (other.text, other.start, other.end)
        for one, other in zip(answers, wanted, strict=True)
    ]
    return sum(same) / len(same)


def accuracy(answers: Sequence[Answer], rows: Sequence[Row]) -> Accuracy | None:
    """SQuAD's exact match and F1; the best of several expected answers counts. None if no row has any."""
    judged = [(one.text or "", row.expected) for one, row in zip(answers, rows, strict=True) if row.expected]
    if not judged:
        return None
    matches = [max(exact_match(text, each) for each in expected) for text, expected in judged]
    overlaps = [max(f1(text, each) for each in expected) for text, expected in judged]
    return Accuracy(100 * float(np.mean(matches)), 100 * float(np.mean(overlaps)))


def _difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
