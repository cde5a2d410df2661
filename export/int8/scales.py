"""Activations -> codes of 8 bits, with a fixed scale, one per window, or one per token.

After GELU most values are near zero and a few tokens reach far, so one scale per window leaves seven times the relative
error of any other input (shipped checkpoint, first three layers). A scale per token costs a pass over the input and one
over the output, which it multiplies: 2% of a window's time where the output is a quarter of the input, 10% if all
inputs had it, and the others gain little.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.int8.activations import Activation

Constant = Callable[[str, NDArray[Any]], str]
Kind = Literal["fixed", "window", "token"]
# The share of the measured tokens whose smallest value may be cut off.
CUT_SHARE = 0.001
# A token of zeros, behind ReLU, has no range of its own.
MIN_SCALE = 1e-6


class Codes(NamedTuple):
    """Names in the graph: the codes, their scale and zero, and the factor of each token of a product."""

    codes: str
    scale: str
    zero: str
    tokens: str = ""


def quantize_activation(name: str, activation: Activation, kind: Kind, constant: Constant) -> tuple[Codes, list[Any]]:
    """The nodes that quantize the activation `name`, and the names of their outputs."""
    if kind == "window":
        return _window_scale(name)
    return (_fixed_scale if kind == "fixed" else _token_scales)(name, activation, constant)


def _window_scale(name: str) -> tuple[Codes, list[Any]]:
    """One scale for each window, from the window's own range."""
    from onnx import helper

    made = Codes(f"{name}/codes", f"{name}/scale", f"{name}/zero")
    return made, [helper.make_node("DynamicQuantizeLinear", [name], [made.codes, made.scale, made.zero], made.codes)]


def _fixed_scale(name: str, activation: Activation, constant: Constant) -> tuple[Codes, list[Any]]:
    """One scale for all windows, from the measured range."""
    from onnx import helper

    low, high = min(float(activation.low.min()), 0.0), max(float(activation.high.max()), 0.0)
    step = (high - low) / 255 or 1.0
    scale = constant(f"{name}/scale", np.array(step, np.float32))
    zero = constant(f"{name}/zero", np.array(round(-low / step), np.uint8))
    made = Codes(f"{name}/codes", scale, zero)
    return made, [helper.make_node("QuantizeLinear", [name, scale, zero], [made.codes], made.codes)]


def _token_scales(name: str, activation: Activation, constant: Constant) -> tuple[Codes, list[Any]]:
    """One scale for each token of (1, tokens, channels), from its largest value.

    All tokens share a zero, since the product takes only one: the zero of the median token. Tokens with a small range
    get steps wide enough for the smallest value.
    """
    from onnx import TensorProto, helper

    low = max(float(-np.quantile(activation.sample.min(1), CUT_SHARE)), 0.0)
    high = float(np.median(activation.sample.max(1)))
    zero = min(max(round(255 * low / ((low + high) or 1.0)), 1), 254)
    nodes: list[Any] = []

    def add(operator: str, inputs: list[str], part: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"{name}/{part}"], f"{name}/{part}", **attributes))
        return f"{name}/{part}"

    last = constant("last_axis", np.array([-1]))
    greatest = add("ReduceMax", [name, last], "greatest", keepdims=1)
    by_high = add("Mul", [greatest, constant(f"{name}/above", np.array(1 / (255 - zero), np.float32))], "by_high")
    least = constant(f"{name}/least", np.array(max(low / zero, MIN_SCALE), np.float32))
    tokens = add("Max", [by_high, least], "tokens")
    scales = add("Reshape", [tokens, last], "scales")
    zeros = helper.make_tensor("zero", TensorProto.UINT8, [1], [zero])
    places = add("ConstantOfShape", [add("Shape", [scales], "count")], "zeros", value=zeros)
    codes = add("QuantizeLinear", [name, scales, places], "codes", axis=1)
    one = constant("one", np.array(1.0, np.float32))
    return Codes(codes, one, constant(f"{name}/zero", np.array(zero, np.uint8)), tokens), nodes
