"""Stages as processes that start within milliseconds: forks of one that has imported everything and done nothing."""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

# Only what starts no thread by being imported: a fork has none of its parent's.
IMPORTED = [
    "stages.ingest",
    "stages.answer",
    "stages.load",
    "stages.loading.files",
    "runtime.answerer",
    "numpy",
    "onnxruntime",
    "polars",
    "psycopg",
    "tokenizers",
]


class Forks:
    """Starts stages; each is a process that can be killed like any other."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(IMPORTED)

    def start(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> BaseProcess:
        """`python -m` with these words; what it says goes to a file."""
        process = self._context.Process(target=_run, args=(list(words), dict(environment), log))
        process.start()
        return process


def _run(words: list[str], environment: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    os.setpgid(0, 0)
    sys.exit(importlib.import_module(words[0]).main(words[1:]))
