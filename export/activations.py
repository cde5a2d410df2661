"""What the inputs of a graph's products look like on real text: the measurements that quantization goes by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from runtime.windows import Window

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Activation:
    """One input of a product over a number of windows; `channels` is its last axis.

    Attributes:
        low: least value of each channel in each window, (windows, channels).
        high: greatest value, (windows, channels).
        energy: sum of squares of each channel over all tokens, (channels,).
        tokens: tokens seen.

    """

    low: Floats
    high: Floats
    energy: Floats
    tokens: int

    @property
    def widths(self) -> Floats:
        """Largest magnitude of each channel, (channels,)."""
        return np.asarray(np.maximum(-self.low, self.high).max(0))


def observe(model: Any, names: Sequence[str], windows: Sequence[Window]) -> dict[str, Activation]:
    """Measures the named tensors."""
    low: dict[str, list[Floats]] = {name: [] for name in names}
    high: dict[str, list[Floats]] = {name: [] for name in names}
    energy = dict.fromkeys(names, np.zeros(1, np.float32))
    for name, rows in _run(model, names, windows):
        low[name].append(rows.min(0))
        high[name].append(rows.max(0))
        energy[name] = energy[name] + np.sum(rows**2, 0)
    tokens = sum(window.ids.size for window in windows)
    return {name: Activation(np.array(low[name]), np.array(high[name]), energy[name], tokens) for name in names}


def grams(model: Any, names: Sequence[str], windows: Sequence[Window]) -> dict[str, Floats]:
    """Sum of xᵀx over all tokens x, (channels, channels), of the named tensors."""
    found: dict[str, Floats] = {}
    for name, rows in _run(model, names, windows):
        gram = found.setdefault(name, np.zeros((rows.shape[1], rows.shape[1]), np.float32))
        gram += rows.T @ rows
    return found


def _run(model: Any, names: Sequence[str], windows: Sequence[Window]) -> Iterator[tuple[str, Floats]]:
    """Each named tensor for each window, (tokens, channels)."""
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}
    for window in windows:
        feed = {
            "input_ids": window.ids,
            "attention_mask": np.ones_like(window.ids),
            "token_type_ids": window.type_ids,
        }
        found = session.run(list(names), {name: array for name, array in feed.items() if name in wanted})
        for name, activation in zip(names, found, strict=True):
            yield name, activation.reshape(-1, activation.shape[-1])
