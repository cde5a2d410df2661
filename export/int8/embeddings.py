"""Embedding tables as int8, with one scale per row."""

from typing import Any

import numpy as np

from export.int8.graph import copy_of, replace_nodes

# A smaller table is not worth two more operators: the one of segment ids has 2 rows.
LEAST_ROWS = 256


def quantize_embeddings(model: Any) -> None:
    """Replaces, in place, every lookup in a large fp32 table by one in an int8 table and one in its scales.

    Each row has its own scale: with one scale for the table, its rounding was the second largest error of all.
    """
    from onnx import TensorProto, helper, numpy_helper

    tables = {each.name: each for each in model.graph.initializer}
    replaced: set[str] = set()
    nodes = []
    for node in model.graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT or len(table.dims) != 2 or table.dims[0] < LEAST_ROWS:
            nodes.append(copy_of(node))
            continue
        name, rows = node.input[0], node.input[1]
        if name not in replaced:
            replaced.add(name)
            values = numpy_helper.to_array(table)
            scales = np.abs(values).max(1, keepdims=True) / 127
            scales[scales == 0] = 1.0
            model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}/scales"))
            codes = np.round(values / scales).astype(np.int8)
            model.graph.initializer.append(numpy_helper.from_array(codes, f"{name}/codes"))
        out = node.output[0]
        nodes += [
            helper.make_node("Gather", [f"{name}/codes", rows], [f"{out}/codes"], f"{node.name}/codes"),
            helper.make_node("Cast", [f"{out}/codes"], [f"{out}/floats"], f"{node.name}/floats", to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}/scales", rows], [f"{out}/scales"], f"{node.name}/scales"),
            helper.make_node("Mul", [f"{out}/floats", f"{out}/scales"], [out], f"{node.name}/scaled"),
        ]
    for name in replaced:
        model.graph.initializer.remove(tables[name])
    replace_nodes(model.graph, nodes)
