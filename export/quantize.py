"""Fused fp32 graph -> int8: weights per output channel in 7 bits, scales of the activations found at run time."""

from pathlib import Path

from export.convert import quiet
from runtime.manifest import Quantization

# The range [-64, 64]: CPUs without VNNI add pairs of products in 16 bits, and with 8-bit weights those saturate, so
# that answers would change from machine to machine (onnxruntime#6004). Free in time.
WEIGHTS = "signed, 7-bit range, per output channel"
ACTIVATIONS = "unsigned, 8 bits, dynamic, one scale per tensor and row"


def quantize(source: Path, target: Path) -> Quantization:
    """Quantizes every product with a constant, and the embeddings; says how."""
    with quiet():
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            str(source),
            str(target),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            # Shape inference does not know the fused operators, and all of their outputs are floats.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
        )
    return Quantization(WEIGHTS, ACTIVATIONS, float_nodes=(), cpu_flags=())
