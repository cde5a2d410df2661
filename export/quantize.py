"""Fused fp32 graph -> int8: weights in 7 bits per output channel, scales of the activations found at run time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.activations import Activation, grams, observe
from export.convert import quiet
from export.embeddings import quantize_embeddings
from export.graph import biases, copied, products, replace_nodes
from export.outliers import treat
from export.rounding import Grid, compensated, nearest
from runtime.manifest import Quantization
from runtime.windows import Window

MICROSOFT = "com.microsoft"
# Kinds of CPU that a bundle may be made for -> bits of its weights, and the flags it then depends on. CPUs without VNNI
# add pairs of products in 16 bits, where weights of 8 bits saturate, so that answers would change from machine to
# machine (onnxruntime#6004); 7 bits are the same everywhere, and as fast.
TARGETS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "portable": (7, ()),
    "avx512_vnni": (8, ("avx512_vnni",)),
    "arm64": (8, ("asimddp",)),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. The defaults are what the sweep on the shipped checkpoint chose (docs/export.md).

    Attributes:
        target: of `TARGETS`; sets the bits of the weights.
        per_channel: one scale for each output of a product, instead of one for all.
        treated: inputs of products are balanced, and their widest channels multiplied in fp32.
        compensated: weights are rounded so that errors make up for each other, not each to its nearest.
        embeddings: embedding tables are int8 too.
        static: scales of activations are fixed from the calibration windows, instead of found for each window.
        float_products: products whose name holds one of these stay in fp32.

    """

    target: str = "portable"
    per_channel: bool = True
    treated: bool = True
    compensated: bool = True
    embeddings: bool = True
    static: bool = False
    float_products: tuple[str, ...] = ("qa_outputs",)

    @property
    def bits(self) -> int:
        """Of the weights."""
        return TARGETS[self.target][0]

    @property
    def levels(self) -> int:
        """Steps of a weight on either side of zero."""
        return 64 if self.bits == 7 else 127

    def describe(self, float_nodes: Sequence[str]) -> Quantization:
        """For the manifest."""
        weights = [
            f"signed, {self.bits} bits",
            "per output channel" if self.per_channel else "one scale per product",
            "rounded with compensation" if self.compensated else "rounded to nearest",
            "embeddings in 8 bits, per row" if self.embeddings else "embeddings in fp32",
        ]
        activations = [
            "unsigned, 8 bits",
            "fixed scales" if self.static else "scales found for each window",
            *(["channels balanced, the widest apart in fp32"] if self.treated else []),
        ]
        return Quantization(", ".join(weights), ", ".join(activations), tuple(float_nodes), TARGETS[self.target][1])


def quantize(source: Path, target: Path, windows: Sequence[Window], recipe: Recipe) -> Quantization:
    """Quantizes the products with constants, and the embeddings; says how.

    The windows show what the activations look like on real text.
    """
    import onnx

    with quiet():
        model = onnx.load(source)
        left = [
            node.name
            for node in model.graph.node
            if node.op_type == "MatMul" and any(part in node.name for part in recipe.float_products)
        ]
        thin = treat(model, windows, recipe.levels, left) if recipe.treated else ()
        to_integers(model, windows, recipe, left)
        if recipe.embeddings:
            quantize_embeddings(model)
        onnx.save(model, target)
    return recipe.describe((*thin, *left))


def to_integers(model: Any, windows: Sequence[Window], recipe: Recipe, left: Collection[str]) -> None:
    """Makes integer products of the products with constants, in place, but for those named `left`."""
    from onnx import helper, numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and node.name not in left
    ]
    grids = _grids(model, nodes, windows, recipe)
    ranges = observe(model, sorted({node.input[0] for node in nodes}), windows) if recipe.static else {}
    names = {node.name for node in nodes}
    following = biases(model.graph)
    absorbed = {following[node.output[0]][0].name for node in nodes if node.output[0] in following}
    result: list[Any] = []
    begun: set[str] = set()

    def constant(name: str, value: NDArray[Any]) -> str:
        if name not in weights:
            weights[name] = numpy_helper.from_array(value, name)
            model.graph.initializer.append(weights[name])
        return name

    for node in model.graph.node:
        if node.name in absorbed and node.op_type == "Add":
            continue
        if node.name not in names:
            result.append(copied(node))
            continue
        name, key = node.input
        if name not in begun:
            begun.add(name)
            result.append(_scaled(name, ranges.get(name), constant))
        bias, output = "", node.output[0]
        if output in following:
            addition, bias = following[output]
            output = addition.output[0]
        grid = grids[key]
        inputs = [f"{name}/codes", constant(f"{key}/codes", grid.codes), f"{name}/scale"]
        inputs += [constant(f"{key}/steps", grid.steps), f"{name}/zero", "", bias]
        result.append(helper.make_node("MatMulIntegerToFloat", inputs, [output], node.name, domain=MICROSOFT))
    replace_nodes(model.graph, result)
    for key in grids:
        model.graph.initializer.remove(weights[key])


def _grids(model: Any, nodes: Sequence[Any], windows: Sequence[Window], recipe: Recipe) -> Mapping[str, Grid]:
    """The rounded constants of the products, by name."""
    from onnx import numpy_helper

    constants = {each.name: each for each in model.graph.initializer}
    names = dict.fromkeys(node.input[1] for node in nodes)
    matrices = {name: numpy_helper.to_array(constants[name]) for name in names}
    grids = {}
    if recipe.compensated:
        own = products(model, ())
        for name, gram in grams(model, list(own), windows).items():
            for key in (node.input[1] for node in own[name] if node.input[1] in matrices):
                grids[key] = compensated(matrices.pop(key), gram, recipe.levels, per_channel=recipe.per_channel)
    for key, matrix in matrices.items():
        grids[key] = nearest(matrix, recipe.levels, per_channel=recipe.per_channel)
    return grids


def _scaled(name: str, seen: Activation | None, constant: Any) -> Any:
    """The node that makes codes of an activation; with scale and zero from its range where that was seen."""
    from onnx import helper

    codes, scale, zero = (f"{name}/{part}" for part in ("codes", "scale", "zero"))
    if seen is None:
        return helper.make_node("DynamicQuantizeLinear", [name], [codes, scale, zero], codes)
    low, high = min(float(seen.low.min()), 0.0), max(float(seen.high.max()), 0.0)
    step = (high - low) / 255 or 1.0
    constant(scale, np.array(step, np.float32))
    constant(zero, np.array(round(-low / step), np.uint8))
    return helper.make_node("QuantizeLinear", [name, scale, zero], [codes], codes)
