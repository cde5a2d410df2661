"""Questions to an ONNX graph, and the replacing of its nodes."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any


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


def copied(message: Any) -> Any:
    """A node or model of its own: to change, and to put into a list for `replace_nodes`."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def replace_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Puts nodes, all of them copied or new, in the place of those that are there."""
    del graph.node[:]
    graph.node.extend(nodes)
