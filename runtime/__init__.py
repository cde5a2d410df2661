"""Bundle -> answers, in bulk, on CPUs. Needs onnxruntime, tokenizers and numpy, and nothing else.

Names are loaded when they are first used: the `load` stage takes `runtime.errors` from here, and must not pay for
onnxruntime.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# Since 1.29 onnxruntime reports to its makers and writes a device id into the home folder, unless told not to before
# it is loaded. Whoever answers questions over private text wants neither.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from runtime.answer import Answer
    from runtime.answerer import Answerer
    from runtime.bundle import Bundle
    from runtime.decoding import Decoding
    from runtime.errors import AnswermillError
    from runtime.manifest import Manifest

__all__ = ["Answer", "Answerer", "AnswermillError", "Bundle", "Decoding", "Manifest"]

_MODULES = {"AnswermillError": "errors"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, name.lower())}"), name)
