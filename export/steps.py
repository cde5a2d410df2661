"""The steps of an export: how long each took, and the error of one that fails."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from export.convert import first_line
from runtime.errors import AnswermillError, ExportError


@contextmanager
def step(name: str) -> Iterator[None]:
    """Logs how long a step took, by the clock and in CPU time.

    Raises ExportError for what the libraries raise in it, which has no common base.
    """
    began, cpu = time.monotonic(), time.process_time()
    try:
        yield
    except (AnswermillError, OSError):
        raise
    except Exception as error:  # numpy's LinAlgError, torch's and onnxruntime's own, MemoryError
        logging.debug("the step %s failed", name, exc_info=True)
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ExportError(f"the step {name!r} failed: {reason}; {_remedy(error)}") from error
    logging.info("%-11s %5.1f s, CPU %5.1f s", name, time.monotonic() - began, time.process_time() - cpu)


def _remedy(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "run where more memory is free"
    return "--precision fp32 avoids quantization; if it fails too, please report the checkpoint"
