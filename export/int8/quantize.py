"""Fused fp32 graph -> int8: weights with a scale per output channel, scales of the activations found at run time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from export.convert import quiet
from export.int8.activations import Activation
from export.int8.embeddings import quantize_embeddings
from export.int8.graph import biases, copied, products, replace_nodes
from export.int8.outliers import treat
from export.int8.rounding import FREE, PORTABLE, Grid, compensated, nearest
from export.int8.scales import Codes, Kind, coded
from runtime.manifest import Quantization

MICROSOFT = "com.microsoft"
# Kinds of CPU that a bundle may be made for -> steps that two neighbouring weights may have in sum (rounding.py says
# why), and the flags it then depends on.
TARGETS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "portable": (PORTABLE, ()),
    "avx512_vnni": (FREE, ("avx512_vnni",)),
    "arm64": (FREE, ("asimddp",)),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. The defaults are what the sweep on the shipped checkpoint chose (docs/export.md).

    Attributes:
        target: of `TARGETS`; sets the room that two neighbouring weights share.
        per_channel: one scale for each output of a product, instead of one for all.
        treated: inputs of products are balanced, and their widest channels multiplied in fp32.
        compensated: weights are rounded so that errors make up for each other, not each to its nearest.
        embeddings: embedding tables are int8 too.
        static: scales of activations are fixed from the calibration windows, instead of found for each window.
        by_token: where a product's input is wider than its output, scales are found for each token.
        float_products: products whose name holds one of these stay in fp32.

    """

    target: str = "portable"
    per_channel: bool = True
    treated: bool = True
    compensated: bool = True
    embeddings: bool = True
    static: bool = False
    by_token: bool = True
    float_products: tuple[str, ...] = ("qa_outputs",)

    @property
    def pair(self) -> int:
        """Steps that two neighbouring weights may have in sum."""
        return TARGETS[self.target][0]

    def describe(self, float_nodes: Sequence[str]) -> Quantization:
        """For the manifest."""
        weights = [
            "signed, 8 bits" if self.pair == FREE else f"signed, 8 bits, two neighbours within {self.pair} in sum",
            "per output channel" if self.per_channel else "one scale per product",
            "rounded with compensation" if self.compensated else "rounded to nearest",
            "embeddings in 8 bits, per row" if self.embeddings else "embeddings in fp32",
        ]
        activations = [
            "unsigned, 8 bits",
            "fixed scales" if self.static else "scales found for each window",
            *(["for each token of inputs wider than the output"] if self.by_token and not self.static else []),
            *(["channels balanced, the widest apart in fp32"] if self.treated else []),
        ]
        return Quantization(", ".join(weights), ", ".join(activations), tuple(float_nodes), TARGETS[self.target][1])


def quantize(source: Path, target: Path, seen: Mapping[str, Activation], recipe: Recipe) -> Quantization:
    """Quantizes the products with constants, and the embeddings; says how.

    `seen` is what the inputs of the products look like on real text.
    """
    import onnx

    with quiet():
        model = onnx.load(source)
        left = [
            node.name
            for node in model.graph.node
            if node.op_type == "MatMul" and any(part in node.name for part in recipe.float_products)
        ]
        thin, seen = treat(model, seen, recipe.pair, left) if recipe.treated else ((), seen)
        to_integers(model, seen, recipe, left)
        if recipe.embeddings:
            quantize_embeddings(model)
        onnx.save(model, target)
    return recipe.describe((*thin, *left))


def to_integers(model: Any, seen: Mapping[str, Activation], recipe: Recipe, left: Collection[str]) -> None:
    """Makes integer products of the products with constants, in place, but for those named `left`."""
    from onnx import numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and node.name not in left
    ]
    grids = _grids(model, nodes, seen, recipe)
    names = {node.name for node in nodes}
    following = biases(model.graph)
    kinds = _kinds(nodes, weights, recipe)
    # The biases that products add; where a token's scale multiplies a product, its bias must come after that.
    absorbed = {
        node.name: following[node.output[0]]
        for node in nodes
        if node.output[0] in following and kinds[node.input[0]] != "token"
    }
    gone = {addition.name for addition, _ in absorbed.values()}
    result: list[Any] = []
    begun: dict[str, Codes] = {}

    def constant(name: str, value: NDArray[Any]) -> str:
        if name not in weights:
            weights[name] = numpy_helper.from_array(value, name)
            model.graph.initializer.append(weights[name])
        return name

    for node in model.graph.node:
        if node.name not in names:
            if node.op_type != "Add" or node.name not in gone:
                result.append(copied(node))
            continue
        name, key = node.input
        if name not in begun:
            begun[name], made = coded(name, seen[name], kinds[name], constant)
            result += made
        weight = constant(f"{key}/codes", grids[key].codes), constant(f"{key}/steps", grids[key].steps)
        addition, bias = absorbed.get(node.name, (node, ""))
        result += _product(node.name, begun[name], weight, bias, addition.output[0])
    replace_nodes(model.graph, result)
    for key in grids:
        model.graph.initializer.remove(weights[key])


def _product(name: str, codes: Codes, weight: tuple[str, str], bias: str, output: str) -> list[Any]:
    """The nodes of one integer product; the weight's names are those of its codes and its steps."""
    from onnx import helper

    product = f"{output}/unscaled" if codes.tokens else output
    inputs = [codes.codes, weight[0], codes.scale, weight[1], codes.zero, "", bias]
    nodes = [helper.make_node("MatMulIntegerToFloat", inputs, [product], name, domain=MICROSOFT)]
    if codes.tokens:
        nodes.append(helper.make_node("Mul", [product, codes.tokens], [output], f"{name}/scaled"))
    return nodes


def _grids(model: Any, nodes: Sequence[Any], seen: Mapping[str, Activation], recipe: Recipe) -> Mapping[str, Grid]:
    """The rounded constants of the products, by name."""
    from onnx import numpy_helper

    constants = {each.name: each for each in model.graph.initializer}
    own = {node.name for each in products(model, ()).values() for node in each}
    grids = {}
    for name, key, node in ((*node.input, node.name) for node in nodes):
        if key in grids:
            continue
        matrix = numpy_helper.to_array(constants[key])
        if recipe.compensated and node in own:
            grids[key] = compensated(matrix, seen[name].gram, recipe.pair, per_channel=recipe.per_channel)
        else:
            grids[key] = nearest(matrix, recipe.pair, per_channel=recipe.per_channel)
    return grids


def _kinds(nodes: Sequence[Any], weights: Mapping[str, Any], recipe: Recipe) -> dict[str, Kind]:
    """By the name of each input, how its scales are found: by token, if it is wider than all outputs it goes into."""
    narrow: dict[str, bool] = {}
    for name, key in (node.input for node in nodes):
        channels, outputs = weights[key].dims
        narrow[name] = narrow.get(name, recipe.by_token) and channels > outputs
    return {name: "fixed" if recipe.static else "token" if found else "window" for name, found in narrow.items()}
