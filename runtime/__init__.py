"""Bundle -> answers, in bulk, on CPUs. Needs onnxruntime, tokenizers and numpy, and nothing else."""

from runtime.answer import Answer
from runtime.answerer import Answerer
from runtime.bundle import Bundle
from runtime.decoding import Decoding
from runtime.errors import AnswermillError
from runtime.manifest import Manifest

__all__ = ["Answer", "Answerer", "AnswermillError", "Bundle", "Decoding", "Manifest"]
