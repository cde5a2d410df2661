"""Measures the inputs of a graph's matrix products on real text: ranges and covariances, which quantization needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.threads import side_by_side
from runtime.windows import Window

Floats = NDArray[np.float32]
# One token in this many is kept as a sample.
SAMPLE_EVERY = 32
# Tokens multiplied at once into the gram matrix: a quarter of the time that one product per window takes.
GRAM_BATCH_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Activation:
    """One input of a product over a number of windows; `channels` is its last axis.

    Attributes:
        low: smallest value of each channel in each window, (windows, channels).
        high: largest value, (windows, channels).
        gram: sum of xᵀx over all tokens x, (channels, channels).
        sample: evenly spread tokens, (tokens, channels).
        tokens: number of tokens measured.

    """

    low: Floats
    high: Floats
    gram: Floats
    sample: Floats
    tokens: int

    @property
    def energy(self) -> Floats:
        """Sum of squares of each channel over all tokens, (channels,)."""
        return np.diag(self.gram)

    @property
    def widths(self) -> Floats:
        """Largest magnitude of each channel, (channels,)."""
        return np.asarray(np.maximum(-self.low, self.high).max(0))

    def divide(self, scales: Floats) -> "Activation":
        """The same input with every channel divided by a number, (channels,); infinity leaves zeros."""
        return Activation(
            self.low / scales,
            self.high / scales,
            self.gram / scales[:, None] / scales[None, :],
            self.sample / scales,
            self.tokens,
        )

    def join(self, other: "Activation") -> "Activation":
        """The same input over the windows of both."""
        return Activation(
            np.concatenate([self.low, other.low]),
            np.concatenate([self.high, other.high]),
            self.gram + other.gram,
            np.concatenate([self.sample, other.sample]),
            self.tokens + other.tokens,
        )


def observe(source: Path, windows: Sequence[Window]) -> dict[str, Activation]:
    """Measures the inputs of all products with constants in a graph, by their names."""
    import onnx

    model = onnx.load(source)
    constants = {each.name for each in model.graph.initializer}
    names = sorted({n.input[0] for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants})
    run = _runner(model, names)
    measured: dict[str, Activation] = {}
    for batch in _batches(windows):
        outputs = zip(*side_by_side(run, batch), strict=True)
        parts = side_by_side(_measure, outputs, [measured.get(name) for name in names])
        measured = dict(zip(names, parts, strict=True))
    return measured


def _batches(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """The windows in order, some `GRAM_BATCH_TOKENS` tokens at a time."""
    batch: list[Window] = []
    for window in windows:
        batch.append(window)
        if sum(each.ids.size for each in batch) >= GRAM_BATCH_TOKENS:
            yield batch
            batch = []
    if batch:
        yield batch


def _measure(outputs: Sequence[Floats], before: Activation | None) -> Activation:
    """Measures one tensor of some windows, each (tokens, channels), and adds that to what was measured before."""
    rows = np.concatenate(outputs)
    part = Activation(
        np.array([each.min(0) for each in outputs]),
        np.array([each.max(0) for each in outputs]),
        rows.T @ rows,
        np.concatenate([each[::SAMPLE_EVERY] for each in outputs]),
        len(rows),
    )
    return part if before is None else before.join(part)


def _runner(model: Any, names: Sequence[str]) -> Callable[[Window], list[Floats]]:
    """Gives the named tensors for a window, each (tokens, channels); they become outputs of the model."""
    from onnx import helper

    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}

    def run(window: Window) -> list[Floats]:
        feed = {
            "input_ids": window.ids,
            "attention_mask": np.ones_like(window.ids),
            "token_type_ids": window.type_ids,
        }
        outputs = session.run(list(names), {name: array for name, array in feed.items() if name in wanted})
        return [activation.reshape(-1, activation.shape[-1]) for activation in outputs]

    return run
