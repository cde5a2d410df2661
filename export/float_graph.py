"""The fp32 graph of the second look, as it is stored: half the size if float16 can hold its weights."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from runtime.bundle import REVISION

# Initialisers of fewer values are no weights, and save nothing.
_SMALL = 1024


def write_float_graph(source: Path, target: Path, revision: str, *, halve: bool) -> bool:
    """Writes the graph, and in its metadata the checkpoint's revision, by which the runtime knows it.

    To `halve` it, weights become float16 with a cast to float32 behind each. False if one is too large for that;
    nothing is written then.
    """
    model = onnx.load(str(source))
    if halve and not _halve_weights(model.graph):
        return False
    model.metadata_props.add(key=REVISION, value=revision)
    onnx.save(model, str(target))
    return True


def _halve_weights(graph: Any) -> bool:
    """Stores the weights as float16, in place. False if one overflows; the graph is of no use then."""
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(values).all():
            return False
        stored = numpy_helper.from_array(values, f"{tensor.name}/float16")
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=onnx.TensorProto.FLOAT))
    for node in reversed(casts):
        graph.node.insert(0, node)
    return True
