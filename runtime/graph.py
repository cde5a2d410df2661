"""An ONNX graph that gives logits, one window a run."""

import threading
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from runtime.spans import Floats
from runtime.windows import UnanswerableRowError, Window


class Graph:
    """A loaded graph. Safe to share between threads; `token_types` says whether it is fed segment ids or zeros."""

    def __init__(self, session: ort.InferenceSession, token_types: bool) -> None:
        self._session = session
        self._token_types = token_types
        self._input_names = frozenset(node.name for node in session.get_inputs())

    def logits(self, window: Window) -> tuple[Floats, Floats]:
        """Start and end logits of one window, each (tokens,) float32.

        Raises UnanswerableRowError for a token that the model has no embedding for.
        One window a run, and never padded: dynamic int8 scales are taken over all that shares a run, so a row would
        otherwise depend on its neighbours (onnxruntime#10111).
        """
        feed = {
            "input_ids": window.ids,
            "attention_mask": np.ones_like(window.ids),
            "token_type_ids": window.type_ids if self._token_types else np.zeros_like(window.ids),
        }
        feed = {name: array for name, array in feed.items() if name in self._input_names}
        try:
            start, end = self._session.run(["start_logits", "end_logits"], feed)
        except InvalidArgument as error:
            # Of ids alone, since shapes and types are ours: tokens were added to the tokenizer, and not to the model.
            raise UnanswerableRowError("the model has no embedding for a token of this row") from error
        return start[0], end[0]


class LazyGraph:
    """A graph that is loaded when the first row needs it, and shared by all threads from then on."""

    def __init__(self, load: Callable[[], Graph]) -> None:
        self._load = load
        self._graph: Graph | None = None
        self._lock = threading.Lock()

    def get(self) -> Graph:
        """The graph. Raises what loading it raises."""
        with self._lock:
            if self._graph is None:
                self._graph = self._load()
            return self._graph
