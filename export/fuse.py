"""Fuses attention, layer norm and GELU into onnxruntime's own operators, and saves the optimised graph.

Not everything that onnxruntime can fuse is faster fused. On one thread with AVX-512, 209 tokens of 384 channels:
SkipLayerNormalization takes 0.51 ms and Add + LayerNormalization 0.15, since the former runs scalar by scalar; BiasGelu
0.61 and Gelu 0.31, where the product adds the bias at no cost; Attention keeps its matrices whole and
MultiHeadAttention goes through them in blocks that fit the cache. Together 1.5 times the windows per second in int8.
"""

from pathlib import Path
from typing import Any

import onnxruntime as ort

from export.int8.graph import copy_of, replace_nodes
from export.quiet import quiet

# What onnxruntime would fuse again, and slow down.
SLOWER_FUSED = ("SkipLayerNormFusion", "BiasSkipLayerNormFusion", "BiasGeluFusion", "EmbedLayerNormFusion")


def fuse(source: Path, target: Path) -> None:
    """Fuses an fp32 graph; patterns that the tool does not know stay as they are."""
    with quiet():
        from onnxruntime.transformers.fusion_options import FusionOptions
        from onnxruntime.transformers.optimizer import optimize_model

        options = FusionOptions("bert")
        options.use_multi_head_attention = True
        options.enable_skip_layer_norm = False
        options.enable_bias_skip_layer_norm = False
        options.enable_bias_gelu = False
        # The fused form quantizes the layer norm's weights with the embeddings.
        options.enable_embed_layer_norm = False
        # 0 means that the number of heads and the hidden size are read off the graph.
        fused = optimize_model(
            str(source), model_type="bert", num_heads=0, hidden_size=0, optimization_options=options, opt_level=0
        )
        strip_attention(fused.model)
        fused.prune_graph()
        fused.save_model_to_file(str(target))


def strip_attention(model: Any) -> None:
    """Removes biases and mask from every fused attention, in place.

    The products add the biases at no cost. The mask is all ones, since a run is one window without padding, and
    onnxruntime takes the faster kernel only if there is none.
    """
    from onnx import helper, numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "MultiHeadAttention" and len(node.input) > 3 and node.input[3] in weights:
            projections = list(node.input[:3])
            biases = numpy_helper.to_array(weights[node.input[3]]).reshape(3, -1)
            for letter, projection, bias in zip("qkv", projections, biases, strict=True):
                name = f"{node.name}/{letter}"
                model.graph.initializer.append(numpy_helper.from_array(bias, f"{name}_bias"))
                nodes.append(helper.make_node("Add", [projection, f"{name}_bias"], [name], name))
            node.input[:] = [f"{node.name}/{letter}" for letter in "qkv"]
        nodes.append(copy_of(node))
    replace_nodes(model.graph, nodes)


def optimise(source: Path, target: Path) -> None:
    """Runs onnxruntime's portable graph optimisations once, so that loading the bundle runs none.

    Leaves out the layout optimisations above `EXTENDED`, which depend on the CPU they run on.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(
        str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(SLOWER_FUSED)
    )
