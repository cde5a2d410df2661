"""Answers in bulk: rows spread over threads that share one session, in order, lazily, in bounded memory."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from runtime.answer import Answer, ranked_answers
from runtime.bundle import TOKENIZER, Bundle
from runtime.cpu import available_cpus
from runtime.decoding import Decoding
from runtime.errors import OptionError
from runtime.spans import Spans, candidate_spans
from runtime.windows import UnanswerableRowError, Window, Windower

Pair = tuple[str | None, str | None]
Ranked = tuple[Answer, ...]

# Rows in flight per thread. Enough that one long row at the head of the line does not leave the other threads idle.
ROWS_IN_FLIGHT = 32


class Answerer:
    """A loaded bundle. Safe to share between threads."""

    def __init__(self, bundle: Bundle, session: ort.InferenceSession, threads: int) -> None:
        self.bundle = bundle
        self.threads = threads
        self._session = session
        self._window = ROWS_IN_FLIGHT * threads
        self._input_names = frozenset(node.name for node in session.get_inputs())
        self._windowers: dict[tuple[int, int], Windower] = {}

    @classmethod
    def load(cls, folder: str | Path, threads: int | None = None) -> "Answerer":
        """Loads a bundle; `threads` defaults to the CPUs that affinity and cgroup quota leave to this process.

        Raises BundleError for a folder that holds no sound bundle, OptionError for fewer threads than one.
        """
        if threads is not None and threads < 1:
            raise OptionError(f"threads is {threads}; it must be at least 1")
        bundle = Bundle.open(folder)
        return cls(bundle, bundle.session(), threads or available_cpus())

    def answer(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Answer]:
        """The best answer to each (question, context), in order.

        Draws `pairs` lazily, at most `ROWS_IN_FLIGHT` rows per thread ahead of the consumer. A row that cannot be
        answered yields an Answer with `error` set. Raises OptionError at once for limits that the model cannot keep.
        """
        return (ranked[0] for ranked in self.rank(pairs, decoding))

    def rank(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Ranked]:
        """As `answer`, with the `top_k` best answers to each row: a tuple of at least one, best first."""
        decoding = decoding or self.bundle.manifest.decoding
        windower = self._windower(decoding)
        return self._in_order(pairs, windower, decoding)

    def logits(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Start and end logits of one window, each (tokens,) float32.

        Raises UnanswerableRowError for a token that the model has no embedding for.
        One window a run, and never padded: dynamic int8 scales are taken over all that shares a run, so a row would
        otherwise depend on its neighbours (onnxruntime#10111).
        """
        feed = {"input_ids": window.ids, "attention_mask": np.ones_like(window.ids)}
        if self.bundle.manifest.inputs.token_types:
            feed["token_type_ids"] = window.type_ids
        else:
            feed["token_type_ids"] = np.zeros_like(window.ids)
        feed = {name: array for name, array in feed.items() if name in self._input_names}
        try:
            start, end = self._session.run(["start_logits", "end_logits"], feed)
        except InvalidArgument as error:
            # Of ids alone, since shapes and types are ours: tokens were added to the tokenizer, and not to the model.
            raise UnanswerableRowError("the model has no embedding for a token of this row") from error
        return start[0], end[0]

    def _windower(self, decoding: Decoding) -> Windower:
        inputs = self.bundle.manifest.inputs
        if decoding.max_seq_len > inputs.max_tokens:
            raise OptionError(
                f"max_seq_len is {decoding.max_seq_len}; this model takes at most {inputs.max_tokens} tokens"
            )
        limits = decoding.max_seq_len, decoding.doc_stride
        if limits not in self._windowers:
            self._windowers[limits] = Windower(self.bundle.folder / TOKENIZER, inputs.cls_token_id, decoding)
        return self._windowers[limits]

    def _in_order(self, pairs: Iterable[Pair], windower: Windower, decoding: Decoding) -> Iterator[Ranked]:
        """Answers in the order of `pairs`. Equal pairs in flight share one computation."""
        in_flight: deque[tuple[Pair, Future[Ranked]]] = deque()
        known: dict[Pair, tuple[Future[Ranked], int]] = {}
        source = iter(pairs)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="answermill")

        def start(pair: Pair) -> Future[Ranked]:
            row = _Row(self, pair, windower, decoding)
            pool.submit(row.begin, pool)
            return row.future

        try:
            while True:
                for question, context in islice(source, self._window - len(in_flight)):
                    pair = question, context
                    future, uses = known.get(pair) or (start(pair), 0)
                    known[pair] = future, uses + 1
                    in_flight.append((pair, future))
                if not in_flight:
                    return
                pair, future = in_flight.popleft()
                yield future.result()
                _, uses = known.pop(pair)
                if uses > 1:
                    known[pair] = future, uses - 1
        finally:
            pool.shutdown(cancel_futures=True)


class _Row:
    """One row on its way: tokenized by one thread, its windows spread over all, decoded by whichever ends last."""

    def __init__(self, answerer: Answerer, pair: Pair, windower: Windower, decoding: Decoding) -> None:
        self.future: Future[Ranked] = Future()
        self._answerer = answerer
        self._pair = pair
        self._windower = windower
        self._decoding = decoding
        self._windows: list[Window] = []
        self._spans: dict[int, Spans] = {}
        self._lock = threading.Lock()

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Cuts the row into windows, hands out all but the first, and runs that one."""
        try:
            self._windows = self._windower.windows(*self._pair)
            for index in range(1, len(self._windows)):
                pool.submit(self._run, index)
        except UnanswerableRowError as error:
            self.future.set_result((Answer.failed(str(error)),))
        except BaseException as error:  # noqa: BLE001 - the consumer raises it; a panic of tokenizers is no Exception
            self.future.set_exception(error)
        else:
            self._run(0)

    def _run(self, index: int) -> None:
        try:
            window = self._windows[index]
            spans = candidate_spans(
                *self._answerer.logits(window),
                window.allowed,
                count=self._decoding.candidates,
                max_answer_len=self._decoding.max_answer_len,
            )
            with self._lock:
                self._spans[index] = spans
                last = len(self._spans) == len(self._windows)
            if last:
                self.future.set_result(self._decode())
        except UnanswerableRowError as error:
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 - the consumer raises it; a panic of tokenizers is no Exception
            self.future.set_exception(error)

    def _fail(self, error: UnanswerableRowError) -> None:
        """The row's answer is its error; several windows may say so, each once."""
        with self._lock:
            if not self.future.done():
                self.future.set_result((Answer.failed(str(error)),))

    def _decode(self) -> Ranked:
        context = self._pair[1] or ""
        found = [(self._spans[i], w.encoding) for i, w in enumerate(self._windows)]
        return ranked_answers(context, found, self._decoding)
