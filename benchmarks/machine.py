"""The machine a measurement ran on, and how fast it multiplies int8 matrices."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from benchmarks.avx2 import SEEN
from runtime.cpu import available_cpus, cpu_flags, cpu_model

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
PACKAGES = ("onnxruntime", "tokenizers", "numpy", "torch", "transformers", "optimum", "ctranslate2", "openvino", "nncf")


def description() -> str:
    """CPU, flags that matter for matrix products, CPUs of this process, versions."""
    flags = " ".join(flag for flag in FLAGS if flag in cpu_flags()) or "none known"
    if SEEN in os.environ:
        flags += f", of which only {os.environ[SEEN]} can be seen here"
    packages = ", ".join(f"{name} {version}" for name in PACKAGES if (version := installed_version(name)))
    return (
        f"{cpu_model()}, {available_cpus()} CPUs for this process, flags {flags}\n"
        f"Python {platform.python_version()}, {packages}"
    )


def installed_version(package: str) -> str | None:
    """Version of a package, None if it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def int8_peak(threads: int, size: int = 1536, seconds: float = 2.0) -> float:
    """int8 multiply-adds per second, all threads together, of onnxruntime's own kernel on large matrices."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    weights = helper.make_tensor("b", TensorProto.INT8, [size, size], bytes(size * size), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "peak",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [size, size])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"a": np.ones((size, size), np.uint8)}
    session.run(None, feed)
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        session.run(None, feed)
        runs += 1
    return runs * size**3 / (time.perf_counter() - began)
