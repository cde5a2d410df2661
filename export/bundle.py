"""The figures that a bundle's manifest holds: digests, tools, CPU."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from runtime.bundle import MANIFEST
from runtime.cpu import cpu_flags, cpu_model
from runtime.manifest import FileDigest

TOOLS = ("onnx", "onnxruntime", "optimum", "optimum-onnx", "tokenizers", "torch", "transformers")
# The CPU flags that decide which integer kernels run.
KERNEL_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
CARD = "README.md"


def digests(folder: Path) -> dict[str, FileDigest]:
    """sha256 and size of every file but the manifest."""
    return {
        path.name: FileDigest(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def tools() -> dict[str, str]:
    """Versions of the packages that made the bundle."""
    return {"python": platform.python_version(), **{name: version(name) for name in TOOLS}}


def cpu() -> dict[str, str]:
    """The exporting machine's CPU, and those of its flags that choose integer kernels."""
    return {"model": cpu_model(), "flags": " ".join(f for f in KERNEL_FLAGS if f in cpu_flags())}
