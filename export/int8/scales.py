"""How an activation becomes codes of 8 bits: with a fixed scale, one found for each window, or one for each token.

After GELU most values are near zero and few tokens reach far, so that one scale for a window leaves seven times the
relative error of any other input (shipped checkpoint, first three layers). A scale for each token costs a pass over the
input, and one over the output, which it must be multiplied with: 2% of a window's time where the output is a quarter of
the input, 10% if all inputs had it, and those gain little.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.int8.activations import Activation

Constant = Callable[[str, NDArray[Any]], str]
Kind = Literal["fixed", "window", "token"]
# Of the tokens seen, the share whose least value may be cut off.
CUT = 0.001
# Of a scale: a token of zeros, behind ReLU, has no range of its own.
SMALLEST = 1e-6


class Codes(NamedTuple):
    """Names in the graph: of codes, their scale and zero, and of what each token of a product is multiplied by."""

    codes: str
    scale: str
    zero: str
    tokens: str = ""


def coded(name: str, seen: Activation, kind: Kind, constant: Constant) -> tuple[Codes, list[Any]]:
    """The nodes that make codes of the activation `name`, and what is called how."""
    if kind == "window":
        return _found_for_window(name)
    return (_fixed if kind == "fixed" else _found_for_token)(name, seen, constant)


def _found_for_window(name: str) -> tuple[Codes, list[Any]]:
    """With the scale of its range in a window."""
    from onnx import helper

    made = Codes(f"{name}/codes", f"{name}/scale", f"{name}/zero")
    return made, [helper.make_node("DynamicQuantizeLinear", [name], [made.codes, made.scale, made.zero], made.codes)]


def _fixed(name: str, seen: Activation, constant: Constant) -> tuple[Codes, list[Any]]:
    """With a scale for the range that was seen."""
    from onnx import helper

    low, high = min(float(seen.low.min()), 0.0), max(float(seen.high.max()), 0.0)
    step = (high - low) / 255 or 1.0
    scale = constant(f"{name}/scale", np.array(step, np.float32))
    zero = constant(f"{name}/zero", np.array(round(-low / step), np.uint8))
    made = Codes(f"{name}/codes", scale, zero)
    return made, [helper.make_node("QuantizeLinear", [name, scale, zero], [made.codes], made.codes)]


def _found_for_token(name: str, seen: Activation, constant: Constant) -> tuple[Codes, list[Any]]:
    """With a scale for each token of (1, tokens, channels), from its greatest value.

    All tokens share a zero, as the product takes only one: where the median token would have it. Tokens that do not
    reach far get steps that are wide enough for the least value.
    """
    from onnx import TensorProto, helper

    low = max(float(-np.quantile(seen.sample.min(1), CUT)), 0.0)
    high = float(np.median(seen.sample.max(1)))
    zero = min(max(round(255 * low / ((low + high) or 1.0)), 1), 254)
    nodes: list[Any] = []

    def add(operator: str, inputs: list[str], part: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"{name}/{part}"], f"{name}/{part}", **attributes))
        return f"{name}/{part}"

    last = constant("last_axis", np.array([-1]))
    greatest = add("ReduceMax", [name, last], "greatest", keepdims=1)
    by_high = add("Mul", [greatest, constant(f"{name}/above", np.array(1 / (255 - zero), np.float32))], "by_high")
    least = constant(f"{name}/least", np.array(max(low / zero, SMALLEST), np.float32))
    tokens = add("Max", [by_high, least], "tokens")
    scales = add("Reshape", [tokens, last], "scales")
    zeros = helper.make_tensor("zero", TensorProto.UINT8, [1], [zero])
    places = add("ConstantOfShape", [add("Shape", [scales], "count")], "zeros", value=zeros)
    codes = add("QuantizeLinear", [name, scales, places], "codes", axis=1)
    one = constant("one", np.array(1.0, np.float32))
    return Codes(codes, one, constant(f"{name}/zero", np.array(zero, np.uint8)), tokens), nodes
