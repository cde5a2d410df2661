"""Measures the inputs of a graph's matrix products on real text: ranges and covariances, which quantization needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

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

    def divided(self, scales: Floats) -> "Activation":
        """The same input with every channel divided by a number, (channels,); infinity leaves zeros."""
        return Activation(
            self.low / scales,
            self.high / scales,
            self.gram / scales[:, None] / scales[None, :],
            self.sample / scales,
            self.tokens,
        )


def observe(source: Path, windows: Sequence[Window]) -> dict[str, Activation]:
    """Measures the inputs of all products with constants in a graph, by their names."""
    import onnx

    model = onnx.load(source)
    constants = {each.name for each in model.graph.initializer}
    names = sorted({n.input[0] for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants})
    low: dict[str, list[Floats]] = {name: [] for name in names}
    high: dict[str, list[Floats]] = {name: [] for name in names}
    sample: dict[str, list[Floats]] = {name: [] for name in names}
    grams: dict[str, Floats] = {}
    pending: dict[str, list[Floats]] = {name: [] for name in names}

    def add_up(name: str) -> None:
        rows = np.concatenate(pending[name])
        grams[name] = rows.T @ rows + grams.get(name, np.float32(0))
        pending[name] = []

    for name, rows in _run(model, names, windows):
        low[name].append(rows.min(0))
        high[name].append(rows.max(0))
        sample[name].append(rows[::SAMPLE_EVERY].copy())
        pending[name].append(rows)
        if sum(map(len, pending[name])) >= GRAM_BATCH_TOKENS:
            add_up(name)
    for name in names:
        if pending[name]:
            add_up(name)
    tokens = sum(window.ids.size for window in windows)
    return {
        name: Activation(np.array(low[name]), np.array(high[name]), grams[name], np.concatenate(sample[name]), tokens)
        for name in names
    }


def _run(model: Any, names: Sequence[str], windows: Sequence[Window]) -> Iterator[tuple[str, Floats]]:
    """Each named tensor for each window, (tokens, channels); the tensors become outputs of the model."""
    from onnx import helper

    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait for the next window by spinning take the cores from the gram products: 1.5 times the CPU time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}
    for window in windows:
        feed = {
            "input_ids": window.ids,
            "attention_mask": np.ones_like(window.ids),
            "token_type_ids": window.type_ids,
        }
        outputs = session.run(list(names), {name: array for name, array in feed.items() if name in wanted})
        for name, activation in zip(names, outputs, strict=True):
            yield name, activation.reshape(-1, activation.shape[-1])
