"""Narrows the inputs of products before they become int8, so that one scale can serve all of their channels.

In the shipped checkpoint, channel 99 of every feed-forward input reaches 28, at one or two tokens of a window, where
the median channel reaches 2; quantized as it is, the model answers 88.4% of 595 XQuAD rows as in fp32.

Two cures, exact but for rounding. The channels are balanced, `x W = (x / s) (s W)`, so that narrow ones use more of the
8 bits (SmoothQuant, Xiao et al., 2022), with the s of least error by the model below. Where that is not enough, the few
widest channels go apart, `x W = x' W' + x[:, apart] W[apart]` with zeros in x' and W' and the second, thin product in
fp32 (LLM.int8(), Dettmers et al., 2022). Cutting wide channels into pieces that stay in int8 was tried: it cost more
time than the thin products and left more of the error.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.int8.activations import Activation, Floats
from export.int8.graph import biases, copied, products, replace_nodes
from export.int8.rounding import step

# Channels that go apart.
APART = 8
# A cure must leave at most this share of the error that it finds, to be worth its operators.
WORTH = 0.8
# Of the error of weights rounded to their nearest, this is left after `rounding.compensated`, as measured.
COMPENSATED = 0.5
# Powers of a channel's width tried for its scale: 0 leaves the narrow ones, 1 makes all equally wide.
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Ranks, by width, of the channel that the others are measured by.
PIVOTS = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90)


class Treatment(NamedTuple):
    """What every channel is divided by, (channels,), infinity if it goes apart; and which do, in order."""

    scales: Floats
    apart: NDArray[np.int64]

    def weights(self, matrix: Floats) -> Floats:
        """The constant (channels, outputs) that the treated input is multiplied by."""
        stretched = matrix * np.where(np.isinf(self.scales), 0, self.scales)[:, None]
        return stretched.astype(np.float32)


def treat(
    model: Any, seen: Mapping[str, Activation], pair: int, left: Collection[str]
) -> tuple[tuple[str, ...], dict[str, Activation]]:
    """Treats, in place, the inputs of products with constants, where that pays.

    Two neighbouring weights will have at most `pair` steps in sum. The products named `left` will stay in fp32. Gives
    the names of the thin products, and what is seen at the inputs after that.
    """
    from onnx import numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    found = products(model, left)
    treatments = {}
    thin = {}
    after = dict(seen)
    for name, nodes in found.items():
        constants = [weights[node.input[1]] for node in nodes]
        matrices = [numpy_helper.to_array(constant) for constant in constants]
        treated = treatment(seen[name], np.hstack(matrices), pair)
        if treated is None:
            continue
        treatments[name] = treated
        after[_narrow(name)] = seen[name].divided(treated.scales)
        for node, constant, matrix in zip(nodes, constants, matrices, strict=True):
            constant.CopyFrom(numpy_helper.from_array(treated.weights(matrix), constant.name))
            if treated.apart.size:
                thin[node.name] = matrix[treated.apart]
    _insert(model.graph, treatments, {node.name for nodes in found.values() for node in nodes}, thin)
    return tuple(f"{name}/thin" for name in thin), after


def treatment(activation: Activation, weights: Floats, pair: int) -> Treatment | None:
    """The cheapest treatment that pays for the input of products with `weights` (channels, outputs)."""
    nothing = Treatment(np.ones(activation.energy.size, np.float32), np.empty(0, np.int64))
    best, left = nothing, error(activation, weights, nothing, pair)
    widest = np.sort(np.argsort(-activation.widths, kind="stable")[:APART])
    for apart in (nothing.apart, widest) if activation.energy.size > 4 * APART else ():
        tried = balanced(activation, weights, apart, pair)
        if (found := error(activation, weights, tried, pair)) <= WORTH * left:
            best, left = tried, found
    return None if best is nothing else best


def balanced(activation: Activation, weights: Floats, apart: NDArray[np.int64], pair: int) -> Treatment:
    """The treatment of least error, of a family of powers of the channels' widths."""
    # A channel that is always zero has no width, and any scale will do for it.
    widths = np.maximum(activation.widths, 1e-6 * activation.widths.max() or 1.0)
    ordered = -np.sort(-np.delete(widths, apart))
    tried = []
    for pivot in sorted({float(ordered[rank]) for rank in PIVOTS if rank < ordered.size}):
        for power in POWERS:
            share = widths / pivot
            scales = np.where(share > 1, share, share**power).astype(np.float32)
            scales[apart] = np.inf
            tried.append(Treatment(scales, apart))
    return min(tried, key=lambda each: error(activation, weights, each, pair))


def error(activation: Activation, weights: Floats, treated: Treatment, pair: int) -> float:
    """Expected squared error of the int8 product, over all tokens and outputs.

    A value rounded to steps of size d is off by d²/12 in the mean. The steps of an activation are found per window.
    """
    stretched = treated.weights(weights)
    low, high = (activation.low / treated.scales).min(1), (activation.high / treated.scales).max(1)
    steps = (np.maximum(high, 0) - np.minimum(low, 0)) / 255
    of_activation = np.mean(steps**2) * activation.tokens * np.sum(stretched**2)
    grid = step(stretched, pair)
    of_weights = COMPENSATED * np.sum(grid**2) * np.sum(activation.energy / treated.scales**2)
    return float(of_activation + of_weights) / 12


def _narrow(name: str) -> str:
    return f"{name}/narrow"


def _insert(graph: Any, treatments: Mapping[str, Treatment], names: set[str], thin: Mapping[str, Floats]) -> None:
    """Puts the treatments' operators between the inputs and the named products, and the thin products behind them."""
    from onnx import helper, numpy_helper

    biased = {name: node.output[0] for name, (node, _) in biases(graph).items()}

    def constant(name: str, value: NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def add(operator: str, inputs: Sequence[str], output: str) -> None:
        nodes.append(helper.make_node(operator, inputs, [output], output))

    nodes: list[Any] = []
    begun: set[str] = set()
    # Where a thin product is added: behind the bias, which the int8 product adds if it follows at once.
    ends: dict[str, tuple[str, str]] = {}
    for original in graph.node:
        node = copied(original)
        name = node.input[0] if node.name in names else ""
        if treated := treatments.get(name):
            if name not in begun:
                begun.add(name)
                factors = constant(f"{name}/factors", (1 / treated.scales).astype(np.float32))
                add("Mul", [name, factors], _narrow(name))
                if treated.apart.size:
                    inputs = [name, constant(f"{name}/apart", treated.apart)]
                    nodes.append(helper.make_node("Gather", inputs, [f"{name}/few"], f"{name}/few", axis=-1))
                    shape = constant(f"{name}/few/shape", np.array([-1, treated.apart.size]))
                    add("Reshape", [f"{name}/few", shape], f"{name}/few/flat")
            node.input[0] = _narrow(name)
            if treated.apart.size:
                ends[biased.get(node.output[0], node.output[0])] = node.name, f"{name}/few/flat"
        nodes.append(node)
        out = node.output[0]
        if out in ends:
            # Gemm adds to what is there, in half the time of a product and an Add, but only to matrices.
            product, few = ends[out]
            rows = thin[product]
            node.output[0] = f"{out}/most"
            add("Reshape", [f"{out}/most", constant(f"{out}/flat", np.array([-1, rows.shape[1]]))], f"{out}/most/flat")
            inputs = [few, constant(f"{product}/rows", rows), f"{out}/most/flat"]
            add("Gemm", inputs, f"{product}/thin")
            shape = constant(f"{out}/shape", np.array([1, -1, rows.shape[1]]))
            nodes.append(helper.make_node("Reshape", [f"{product}/thin", shape], [out], f"{out}/restored"))
    replace_nodes(graph, nodes)
