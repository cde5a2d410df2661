"""Narrows the inputs of matrix products before they become int8, so that one scale can serve all channels.

In the shipped checkpoint, channel 99 of every feed-forward input reaches 28 at one or two tokens of a window, where
the median channel reaches 2. Quantized without a remedy, the model gives fp32's answer on 88.4% of 595 XQuAD rows.

Two remedies; both leave the fp32 product unchanged up to rounding. Balancing, `x W = (x / s) (s W)`, lets narrow
channels use more of the 8 bits (SmoothQuant, Xiao et al., 2022); the s of least error by the model below is taken.
Where that is not enough, the few widest channels, the outliers, are multiplied in fp32 (LLM.int8(), Dettmers et al.,
2022): `x W = x' W' + x[:, outliers] W[outliers]`, with zeros in x' and W'. Cutting wide channels into pieces that stay
in int8 was tried: it cost more time than the fp32 branches and left more of the error.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.int8.activations import Activation, Floats
from export.int8.graph import biases, copy_of, products, replace_nodes
from export.int8.rounding import step
from export.threads import side_by_side

# Channels that the fp32 branch takes.
OUTLIER_CHANNELS = 8
# A remedy is worth its operators only if it leaves at most this share of the error.
MAX_REMAINING_ERROR = 0.8
# `rounding.round_gptq` leaves this share of the error of `round_nearest`, as measured.
GPTQ_REMAINING_ERROR = 0.5
# Powers of a channel's width tried for its scale: 0 leaves the narrow ones, 1 makes all equally wide.
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Ranks, by width, of the channel whose width the others are divided by.
PIVOTS = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90)


class OutlierSplit(NamedTuple):
    """The divisor of every channel, (channels,), infinite for outliers; and the outliers' indices, in order."""

    scales: Floats
    outlier_channels: NDArray[np.int64]

    def weights(self, matrix: Floats) -> Floats:
        """The constant (channels, outputs) for the int8 branch."""
        return matrix * np.where(np.isinf(self.scales), np.float32(0), self.scales)[:, None]


def smooth_outliers(
    model: Any, activations: Mapping[str, Activation], pair_limit: int, float_nodes: Collection[str]
) -> tuple[tuple[str, ...], dict[str, Activation]]:
    """Inserts, in place, the split that pays best in front of each group of matrix products.

    Two neighbouring weights will have at most `pair_limit` steps in sum. `float_nodes` will stay in fp32. Returns the
    names of the fp32 branches, and the activations at the products' new inputs.
    """
    from onnx import numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    by_input = products(model, float_nodes)
    splits = {}
    fp32_branches = {}
    after = dict(activations)

    def find(name: str) -> OutlierSplit | None:
        matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in by_input[name]]
        return best_split(activations[name], np.hstack(matrices), pair_limit)

    for (name, nodes), split in zip(by_input.items(), side_by_side(find, by_input), strict=True):
        if split is None:
            continue
        constants = [weights[node.input[1]] for node in nodes]
        matrices = [numpy_helper.to_array(constant) for constant in constants]
        splits[name] = split
        after[_narrow(name)] = activations[name].divide(split.scales)
        for node, constant, matrix in zip(nodes, constants, matrices, strict=True):
            constant.CopyFrom(numpy_helper.from_array(split.weights(matrix), constant.name))
            if split.outlier_channels.size:
                fp32_branches[node.name] = matrix[split.outlier_channels]
    _insert(model.graph, splits, {node.name for nodes in by_input.values() for node in nodes}, fp32_branches)
    return tuple(f"{name}/thin" for name in fp32_branches), after


def best_split(activation: Activation, weights: Floats, pair_limit: int) -> OutlierSplit | None:
    """The cheapest split that is worth its operators for products with `weights` (channels, outputs), or None."""
    nothing = OutlierSplit(np.ones(activation.energy.size, np.float32), np.empty(0, np.int64))
    best, remaining = nothing, error(activation, weights, nothing, pair_limit)
    widest = np.sort(np.argsort(-activation.widths, kind="stable")[:OUTLIER_CHANNELS])
    for outlier_channels in (nothing.outlier_channels, widest) if activation.energy.size > 4 * OUTLIER_CHANNELS else ():
        tried = balance(activation, weights, outlier_channels, pair_limit)
        if (left_over := error(activation, weights, tried, pair_limit)) <= MAX_REMAINING_ERROR * remaining:
            best, remaining = tried, left_over
    return None if best is nothing else best


def balance(
    activation: Activation, weights: Floats, outlier_channels: NDArray[np.int64], pair_limit: int
) -> OutlierSplit:
    """The split of least error among scales that are powers of the channels' widths."""
    # A channel that is always zero has no width; any scale will do.
    widths = np.maximum(activation.widths, 1e-6 * activation.widths.max() or 1.0)
    ordered = -np.sort(-np.delete(widths, outlier_channels))
    tried = []
    for pivot in sorted({float(ordered[rank]) for rank in PIVOTS if rank < ordered.size}):
        for power in POWERS:
            share = widths / pivot
            scales = np.where(share > 1, share, share**power).astype(np.float32)
            scales[outlier_channels] = np.inf
            tried.append(OutlierSplit(scales, outlier_channels))
    return min(tried, key=lambda each: error(activation, weights, each, pair_limit))


def error(activation: Activation, weights: Floats, split: OutlierSplit, pair_limit: int) -> float:
    """Expected squared error of the int8 product, over all tokens and outputs.

    The mean squared error of rounding to steps of size d is d²/12. An activation's step is found per window.
    """
    stretched = split.weights(weights)
    low, high = (activation.low / split.scales).min(1), (activation.high / split.scales).max(1)
    steps = (np.maximum(high, 0) - np.minimum(low, 0)) / 255
    of_activation = np.mean(steps**2) * activation.tokens * np.vdot(stretched, stretched)
    grid = step(np.abs(stretched, out=stretched), pair_limit)
    of_weights = GPTQ_REMAINING_ERROR * np.sum(grid**2) * np.sum(activation.energy / split.scales**2)
    return float(of_activation + of_weights) / 12


def _narrow(name: str) -> str:
    return f"{name}/narrow"


def _insert(
    graph: Any, splits: Mapping[str, OutlierSplit], names: set[str], fp32_branches: Mapping[str, Floats]
) -> None:
    """Inserts the splits' operators before the named products, and the fp32 branches behind them."""
    from onnx import helper, numpy_helper

    biased = {name: node.output[0] for name, (node, _) in biases(graph).items()}

    def constant(name: str, value: NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def add(operator: str, inputs: Sequence[str], output: str) -> None:
        nodes.append(helper.make_node(operator, inputs, [output], output))

    nodes: list[Any] = []
    narrowed_inputs: set[str] = set()
    # Where a thin product is added: behind the bias, which the int8 product adds if it follows at once.
    ends: dict[str, tuple[str, str]] = {}
    for original in graph.node:
        node = copy_of(original)
        name = node.input[0] if node.name in names else ""
        if split := splits.get(name):
            if name not in narrowed_inputs:
                narrowed_inputs.add(name)
                factors = constant(f"{name}/factors", (1 / split.scales).astype(np.float32))
                add("Mul", [name, factors], _narrow(name))
                if split.outlier_channels.size:
                    inputs = [name, constant(f"{name}/apart", split.outlier_channels)]
                    nodes.append(helper.make_node("Gather", inputs, [f"{name}/few"], f"{name}/few", axis=-1))
                    shape = constant(f"{name}/few/shape", np.array([-1, split.outlier_channels.size]))
                    add("Reshape", [f"{name}/few", shape], f"{name}/few/flat")
            node.input[0] = _narrow(name)
            if split.outlier_channels.size:
                ends[biased.get(node.output[0], node.output[0])] = node.name, f"{name}/few/flat"
        nodes.append(node)
        out = node.output[0]
        if out in ends:
            # Gemm adds to its third input in half the time of MatMul and Add, but takes only matrices.
            product, few = ends[out]
            rows = fp32_branches[product]
            node.output[0] = f"{out}/most"
            add("Reshape", [f"{out}/most", constant(f"{out}/flat", np.array([-1, rows.shape[1]]))], f"{out}/most/flat")
            inputs = [few, constant(f"{product}/rows", rows), f"{out}/most/flat"]
            add("Gemm", inputs, f"{product}/thin")
            shape = constant(f"{out}/shape", np.array([1, -1, rows.shape[1]]))
            nodes.append(helper.make_node("Reshape", [f"{product}/thin", shape], [out], f"{out}/restored"))
    replace_nodes(graph, nodes)
