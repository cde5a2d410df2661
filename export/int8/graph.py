"""Queries on an ONNX graph, and the replacement of its nodes."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any


def products(model: Any, float_nodes: Collection[str]) -> dict[str, list[Any]]:
    """Groups, by the name of their input, the matrix products whose constant no other node uses.

    `float_nodes` are left out. A constant that several products share, as in ALBERT, cannot be fitted to one input.
    """
    constants = {each.name for each in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    by_input: dict[str, list[Any]] = {}
    for node in model.graph.node:
        own = node.op_type == "MatMul" and node.input[1] in constants and uses[node.input[1]] == 1
        if own and node.name not in float_nodes:
            by_input.setdefault(node.input[0], []).append(node)
    return by_input


def biases(graph: Any) -> dict[str, tuple[Any, str]]:
    """Maps a tensor that only a bias is added to, to that Add node and the name of the bias."""
    vectors = {each.name for each in graph.initializer if len(each.dims) == 1}
    uses = Counter(name for node in graph.node for name in node.input)
    additions = [node for node in graph.node if node.op_type == "Add"]
    sides = [(node, *pair) for node in additions for pair in (node.input, reversed(node.input))]
    return {to: (node, bias) for node, to, bias in sides if bias in vectors and uses[to] == 1}


def copy_of(message: Any) -> Any:
    """A copy of a node or model, to change or to hand to `replace_nodes`."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def replace_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Replaces all nodes of a graph; the new ones must not be nodes of the graph itself (see `copy_of`)."""
    del graph.node[:]
    graph.node.extend(nodes)
