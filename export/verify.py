"""Measures a bundle: logits, agreement with fp32, and accuracy. `thresholds.py` judges the figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from export.evaluation import Row
from export.threads import side_by_side
from runtime import Answer, Answerer
from runtime.errors import ExportError
from runtime.rows import Ranking
from runtime.squad import exact_match, f1
from runtime.windows import UnanswerableRowError, Window, Windower

# Number of windows on which logits are compared, spread over the lengths that the rows offer.
COMPARED_WINDOWS = 32
# Number of windows on which activations are measured for quantization. 64 leave the same error in a logit, but over
# three draws of them the gap between the two best answers of XQuAD's rows was 4% noisier (0.0887 instead of 0.0856).
CALIBRATION_WINDOWS = 128


class Accuracy(NamedTuple):
    """SQuAD's figures in percent, over the rows with an expected answer."""

    exact_match: float
    f1: float


def spread_of_windows(windower: Windower, rows: Sequence[Row], count: int) -> list[Window]:
    """At most `count` windows of the rows, evenly spread from the shortest to the longest."""
    return [window for _, window in _spread(windower, rows, count)]


def observed_rows(windower: Windower, rows: Sequence[Row]) -> np.ndarray:
    """Whether the activations of one of a row's windows were measured for quantization, (rows,)."""
    observed = np.zeros(len(rows), bool)
    observed[[index for index, _ in _spread(windower, rows, CALIBRATION_WINDOWS)]] = True
    return observed


def _spread(windower: Windower, rows: Sequence[Row], count: int) -> list[tuple[int, Window]]:
    """As `spread_of_windows`, each with the index of its row. Raises ExportError if no row has any."""
    windows = [(index, window) for index, row in enumerate(rows) for window in _windows(windower, row)]
    if not windows:
        raise ExportError("this model can answer none of the rows that it is to be judged by; name others: --evaluate")
    windows.sort(key=lambda each: each[1].ids.size)
    picked = np.linspace(0, len(windows) - 1, min(count, len(windows)))
    return [windows[int(index)] for index in picked]


def _windows(windower: Windower, row: Row) -> list[Window]:
    """The row's windows; none of one that has only an error, such as for its long question."""
    try:
        return windower.windows(row.question, row.context)
    except UnanswerableRowError:
        return []


def logit_differences(model: Any, plain: Answerer, fused: Answerer, windows: Sequence[Window]) -> tuple[float, float]:
    """Largest difference of a logit: the unfused ONNX model to the torch model, and the fused to the unfused."""
    import torch

    token_types = plain.bundle.manifest.inputs.token_types

    def differences(window: Window) -> tuple[float, float]:
        feed = {"input_ids": torch.from_numpy(window.ids)}
        if token_types:
            feed["token_type_ids"] = torch.from_numpy(window.type_ids)
        with torch.inference_mode():
            output = model(**feed)
        logits = plain.logits(window)
        to_torch = _difference((output.start_logits[0].numpy(), output.end_logits[0].numpy()), logits)
        return to_torch, _difference(fused.logits(window), logits)

    threads = torch.get_num_threads()
    # Otherwise each thread of the pool would spread its products over as many threads of torch's own.
    torch.set_num_threads(1)
    try:
        # numpy's, since Python's max() passes over a NaN, and a graph that gives one must not be written.
        to_torch, to_plain = np.max(list(side_by_side(differences, windows)), axis=0)
    finally:
        torch.set_num_threads(threads)
    return float(to_torch), float(to_plain)


def rankings(answerer: Answerer, rows: Sequence[Row]) -> list[Ranking]:
    """The best answer to each row, and how close the second-best comes."""
    return list(answerer.rankings((row.question, row.context) for row in rows))


def best_answers(rankings: Sequence[Ranking]) -> list[Answer]:
    """The best answer to each row."""
    return [ranking.answers[0] for ranking in rankings]


def agreement(answers: Sequence[Answer], wanted: Sequence[Answer]) -> float:
    """Share of rows with the same text at the same place."""
    same = [is_same(one, other) for one, other in zip(answers, wanted, strict=True)]
    return sum(same) / len(same)


def is_same(one: Answer, other: Answer) -> bool:
    """Whether two answers have the same text at the same place."""
    return (one.text, one.start, one.end) == (other.text, other.start, other.end)


def accuracy(answers: Sequence[Answer], rows: Sequence[Row]) -> Accuracy | None:
    """SQuAD's exact match and F1; the best of several expected answers counts. None if no row has any."""
    judged = [(one.text or "", row.expected) for one, row in zip(answers, rows, strict=True) if row.expected]
    if not judged:
        return None
    matches = [max(exact_match(text, each) for each in expected) for text, expected in judged]
    overlaps = [max(f1(text, each) for each in expected) for text, expected in judged]
    return Accuracy(100 * float(np.mean(matches)), 100 * float(np.mean(overlaps)))


def _difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    return float(np.max([np.abs(a - b).max() for a, b in zip(one, other, strict=True)]))
