"""Fused fp32 graph -> int8: a weight scale per output channel, activation scales found at run time."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from export.int8.activations import Activation
from export.int8.embeddings import quantize_embeddings
from export.int8.graph import biases, copy_of, products, replace_nodes
from export.int8.outliers import smooth_outliers
from export.int8.recipe import Recipe
from export.int8.rounding import Grid, round_gptq, round_nearest
from export.int8.scales import Codes, Kind, quantize_activation
from export.quiet import quiet
from export.threads import side_by_side
from runtime.manifest import Quantization

MICROSOFT = "com.microsoft"


def quantize(source: Path, target: Path, activations: Mapping[str, Activation], recipe: Recipe) -> Quantization:
    """Writes the graph with int8 products and embeddings to `target`. Returns a description for the manifest.

    `activations` are measurements of the products' inputs on real text.
    """
    import onnx

    with quiet():
        model = onnx.load(source)
        float_nodes = [
            node.name
            for node in model.graph.node
            if node.op_type == "MatMul" and any(part in node.name for part in recipe.float_products)
        ]
        fp32_branches: tuple[str, ...] = ()
        if recipe.split_outliers:
            fp32_branches, activations = smooth_outliers(model, activations, recipe.pair_limit, float_nodes)
        to_integers(model, activations, recipe, float_nodes)
        if recipe.embeddings:
            quantize_embeddings(model)
        onnx.save(model, target)
    return recipe.describe((*fp32_branches, *float_nodes))


def to_integers(
    model: Any, activations: Mapping[str, Activation], recipe: Recipe, float_nodes: Collection[str]
) -> None:
    """Replaces, in place, products with constants by integer ones, except `float_nodes`."""
    from onnx import numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and node.name not in float_nodes
    ]
    grids = _grids(model, nodes, activations, recipe)
    names = {node.name for node in nodes}
    following = biases(model.graph)
    kinds = _kinds(nodes, weights, recipe)
    # Biases that the integer product itself adds. A token's scale multiplies the product, so a bias must come after it.
    absorbed = {
        node.name: following[node.output[0]]
        for node in nodes
        if node.output[0] in following and kinds[node.input[0]] != "token"
    }
    absorbed_additions = {addition.name for addition, _ in absorbed.values()}
    result: list[Any] = []
    quantized_inputs: dict[str, Codes] = {}

    def constant(name: str, value: NDArray[Any]) -> str:
        if name not in weights:
            weights[name] = numpy_helper.from_array(value, name)
            model.graph.initializer.append(weights[name])
        return name

    for node in model.graph.node:
        if node.name not in names:
            if node.op_type != "Add" or node.name not in absorbed_additions:
                result.append(copy_of(node))
            continue
        name, key = node.input
        if name not in quantized_inputs:
            quantized_inputs[name], made = quantize_activation(name, activations[name], kinds[name], constant)
            result += made
        weight = constant(f"{key}/codes", grids[key].codes), constant(f"{key}/steps", grids[key].steps)
        addition, bias = absorbed.get(node.name, (node, ""))
        result += _product(node.name, quantized_inputs[name], weight, bias, addition.output[0])
    replace_nodes(model.graph, result)
    for key in grids:
        model.graph.initializer.remove(weights[key])


def _product(name: str, codes: Codes, weight: tuple[str, str], bias: str, output: str) -> list[Any]:
    """The nodes of one integer product; `weight` names its codes and its steps."""
    from onnx import helper

    product = f"{output}/unscaled" if codes.tokens else output
    inputs = [codes.codes, weight[0], codes.scale, weight[1], codes.zero, "", bias]
    nodes = [helper.make_node("MatMulIntegerToFloat", inputs, [product], name, domain=MICROSOFT)]
    if codes.tokens:
        nodes.append(helper.make_node("Mul", [product, codes.tokens], [output], f"{name}/scaled"))
    return nodes


def _grids(
    model: Any, nodes: Sequence[Any], activations: Mapping[str, Activation], recipe: Recipe
) -> Mapping[str, Grid]:
    """The rounded constants of the products, by name."""
    from onnx import numpy_helper

    constants = {each.name: each for each in model.graph.initializer}
    own = {node.name for each in products(model, ()).values() for node in each}
    inputs = {node.input[1]: node.input[0] for node in reversed(nodes)}
    compensated = {node.input[1] for node in nodes if recipe.gptq and node.name in own}

    def grid(key: str) -> Grid:
        matrix = numpy_helper.to_array(constants[key])
        if key not in compensated:
            return round_nearest(matrix, recipe.pair_limit, per_channel=recipe.per_channel)
        gram = activations[inputs[key]].gram
        return round_gptq(matrix, gram, recipe.pair_limit, per_channel=recipe.per_channel)

    return dict(zip(inputs, side_by_side(grid, inputs), strict=True))


def _kinds(nodes: Sequence[Any], weights: Mapping[str, Any], recipe: Recipe) -> dict[str, Kind]:
    """How the scale of each input is found: by token if the input is wider than the outputs of all its products."""
    narrow: dict[str, bool] = {}
    for name, key in (node.input for node in nodes):
        channels, outputs = weights[key].dims
        narrow[name] = narrow.get(name, recipe.by_token) and channels > outputs
    return {name: "fixed" if recipe.static else "token" if shrinks else "window" for name, shrinks in narrow.items()}
