"""What the inputs of a graph's products look like on real text: the measurements that quantization goes by."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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


def products(model: Any, left: Collection[str]) -> dict[str, list[Any]]:
    """The matrix products with a constant of their own, by the name of their input, but for those named `left`.

    Constants that several products share, as ALBERT's layers do, cannot be fitted to one input.
    """
    constants = {each.name for each in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        own = node.op_type == "MatMul" and node.input[1] in constants and uses[node.input[1]] == 1
        if own and node.name not in left:
            found.setdefault(node.input[0], []).append(node)
    return found


def biases(graph: Any) -> dict[str, tuple[Any, str]]:
    """By the name of what is added to: the additions of a constant vector to nothing else, and the vector's name."""
    vectors = {each.name for each in graph.initializer if len(each.dims) == 1}
    uses = Counter(name for node in graph.node for name in node.input)
    additions = [node for node in graph.node if node.op_type == "Add"]
    sides = [(node, *pair) for node in additions for pair in (node.input, reversed(node.input))]
    return {to: (node, bias) for node, to, bias in sides if bias in vectors and uses[to] == 1}


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
