"""Writes the files and figures of a bundle; its folder is complete or not there at all."""

import hashlib
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from runtime.bundle import MANIFEST
from runtime.cpu import cpu_flags, cpu_model
from runtime.errors import ExportError
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


def check_output_folder(target: Path) -> None:
    """Raises ExportError if the output folder is a file, or a folder with something other than a bundle in it."""
    if target.is_dir():
        if not (target / MANIFEST).is_file() and any(target.iterdir()):
            raise ExportError(f"{target} is not empty and holds no bundle: choose another --output")
    elif target.exists():
        raise ExportError(f"{target} is a file: choose another --output")


def put_in_place(folder: Path, target: Path) -> None:
    """Gives a complete folder its final name; an older bundle there is replaced.

    Raises ExportError if something that is no bundle stands in the way.
    """
    check_output_folder(target)
    outgoing = folder.with_name(f"{folder.name}.outgoing")
    if target.exists():
        target.rename(outgoing)
    folder.rename(target)
    shutil.rmtree(outgoing, ignore_errors=True)
