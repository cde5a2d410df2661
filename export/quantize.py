"""Fused fp32 graph -> int8: weights per output channel in 7 bits, scales of the activations found at run time."""

from collections.abc import Sequence
from pathlib import Path

from export.convert import quiet
from export.outliers import split_wide_channels
from runtime.manifest import Quantization
from runtime.windows import Window

# The range [-64, 64]: CPUs without VNNI add pairs of products in 16 bits, and with 8-bit weights those saturate, so
# that answers would change from machine to machine (onnxruntime#6004). Free in time.
WEIGHTS = "signed, 7-bit range, per output channel"
ACTIVATIONS = "unsigned, 8 bits, one scale per activation, found for each window; the widest channels apart, in fp32"


def quantize(source: Path, target: Path, windows: Sequence[Window]) -> Quantization:
    """Quantizes every product with a constant, and the embeddings; says how.

    The windows show which channels are too wide to share a scale with the others.
    """
    split = target.with_suffix(".split.onnx")
    with quiet():
        float_nodes = split_wide_channels(source, split, windows)
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            str(split),
            str(target),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=list(float_nodes),
            # Shape inference does not know the fused operators, and all of their outputs are floats.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
        )
    return Quantization(WEIGHTS, ACTIVATIONS, float_nodes, cpu_flags=())
