"""Answers in bulk: rows spread over threads that share one session, in order, lazily, in bounded memory."""

import dataclasses
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from runtime import confidence
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
# Spans a window that are compared where decoding itself looks at one.
COMPARED = 12


class Ranking(NamedTuple):
    """A row's answers, best first, and the share of the best one's score that the second has; 0 without a second."""

    answers: Ranked
    ratio: float


class Answerer:
    """A loaded bundle. Safe to share between threads.

    Attributes:
        bundle: what it was loaded from.
        threads: threads that rows are spread over.
        second_look: rows whose ratio is at least this are answered again in fp32; None for none.

    """

    def __init__(
        self, bundle: Bundle, session: ort.InferenceSession, threads: int, second_look: float | None = None
    ) -> None:
        self.bundle = bundle
        self.threads = threads
        self.second_look = second_look
        self._float_session: ort.InferenceSession | None = None
        self._float_lock = threading.Lock()
        self._session = session
        self._window = ROWS_IN_FLIGHT * threads
        self._input_names = frozenset(node.name for node in session.get_inputs())
        self._windowers: dict[tuple[int, int], Windower] = {}

    @classmethod
    def load(
        cls, folder: str | Path, threads: int | None = None, second_look: float | Literal["auto", "off"] = "auto"
    ) -> "Answerer":
        """Loads a bundle; `threads` defaults to the CPUs that affinity and cgroup quota leave to this process.

        `second_look` is "off", a ratio, or "auto" for the one that the bundle was exported with, if any. Raises
        BundleError for a folder that holds no sound bundle, OptionError for a value that makes no sense.
        """
        if threads is not None and threads < 1:
            raise OptionError(f"threads is {threads}; it must be at least 1")
        bundle = Bundle.open(folder)
        return cls(bundle, bundle.session(), threads or available_cpus(), _ratio(bundle, second_look))

    def answer(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Answer]:
        """The best answer to each (question, context), in order.

        Draws `pairs` lazily, at most `ROWS_IN_FLIGHT` rows per thread ahead of the consumer. A row that cannot be
        answered yields an Answer with `error` set. Raises OptionError at once for limits that the model cannot keep.
        """
        return (ranked[0] for ranked in self.rank(pairs, decoding))

    def rank(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Ranked]:
        """As `answer`, with the `top_k` best answers to each row: a tuple of at least one, best first."""
        return (ranking.answers for ranking in self.rankings(pairs, decoding))

    def rankings(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Ranking]:
        """As `rank`, with the ratio that decides about a second look."""
        decoding = decoding or self.bundle.manifest.decoding
        windower = self._windower(decoding)
        return self._in_order(pairs, windower, decoding)

    def float_session(self) -> ort.InferenceSession:
        """The fp32 graph's session, shared by all threads, opened when the first row needs it. Raises BundleError."""
        with self._float_lock:
            if self._float_session is None:
                self._float_session = self.bundle.float_session()
            return self._float_session

    def logits(self, window: Window, session: ort.InferenceSession | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Start and end logits of one window, each (tokens,) float32, by the bundle's own graph or another session.

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
            start, end = (session or self._session).run(["start_logits", "end_logits"], feed)
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

    def _in_order(self, pairs: Iterable[Pair], windower: Windower, decoding: Decoding) -> Iterator[Ranking]:
        """Answers in the order of `pairs`. Equal pairs in flight share one computation."""
        in_flight: deque[tuple[Pair, Future[Ranking]]] = deque()
        known: dict[Pair, tuple[Future[Ranking], int]] = {}
        source = iter(pairs)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="answermill")

        def start(pair: Pair) -> Future[Ranking]:
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
        self.future: Future[Ranking] = Future()
        self._answerer = answerer
        self._pair = pair
        self._windower = windower
        self._decoding = decoding
        self._windows: list[Window] = []
        self._spans: dict[int, tuple[Spans, Spans]] = {}
        self._lock = threading.Lock()

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Cuts the row into windows, hands out all but the first, and runs that one."""
        try:
            self._windows = self._windower.windows(*self._pair)
            for index in range(1, len(self._windows)):
                pool.submit(self._run, index)
        except UnanswerableRowError as error:
            self.future.set_result(Ranking((Answer.failed(str(error)),), 0.0))
        except BaseException as error:  # noqa: BLE001 - the consumer raises it; a panic of tokenizers is no Exception
            self.future.set_exception(error)
        else:
            self._run(0)

    def _run(self, index: int) -> None:
        try:
            spans = self._candidates(self._windows[index], None)
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
                self.future.set_result(Ranking((Answer.failed(str(error)),), 0.0))

    def _candidates(self, window: Window, session: ort.InferenceSession | None) -> tuple[Spans, Spans]:
        """The spans that the answers come from, and those that tell how close the second-best comes."""
        logits = self._answerer.logits(window, session)
        longest = self._decoding.max_answer_len
        spans = candidate_spans(*logits, window.allowed, count=self._decoding.candidates, max_answer_len=longest)
        if self._decoding.candidates > 1:
            return spans, spans
        # Where the reference looks at the best span alone, nothing else may take part in the answer.
        return spans, candidate_spans(*logits, window.allowed, count=COMPARED, max_answer_len=longest)

    def _decode(self) -> Ranking:
        ranking = self._ranking([self._spans[index] for index in range(len(self._windows))])
        limit = self._answerer.second_look
        if limit is not None and ranking.ratio >= limit:
            # All windows by this one thread: such rows are few, and the others have rows of their own.
            session = self._answerer.float_session()
            ranking = self._ranking([self._candidates(window, session) for window in self._windows])
        curve = self._answerer.bundle.manifest.confidence
        best, *others = ranking.answers
        if curve is None or best.error:
            return ranking
        sure = confidence.of_answer(curve, best, ranking.ratio)
        return Ranking((dataclasses.replace(best, confidence=sure), *others), ranking.ratio)

    def _ranking(self, spans: Sequence[tuple[Spans, Spans]]) -> Ranking:
        context = self._pair[1] or ""
        compared = dataclasses.replace(self._decoding, top_k=max(2, self._decoding.top_k))
        answers = ranked_answers(context, list(zip([each for _, each in spans], self._windows, strict=True)), compared)
        ratio = confidence.ratio(answers)
        if self._decoding.candidates > 1:
            return Ranking(answers[: self._decoding.top_k], ratio)
        windows = list(zip([each for each, _ in spans], self._windows, strict=True))
        return Ranking(ranked_answers(context, windows, self._decoding), ratio)


def _ratio(bundle: Bundle, second_look: float | Literal["auto", "off"]) -> float | None:
    """The ratio that the option comes to. Raises OptionError."""
    known = bundle.manifest.second_look
    if second_look == "off" or (second_look == "auto" and known is None):
        return None
    if known is None:
        raise OptionError(
            "second_look: this bundle holds no fp32 graph; export it with --second-look auto, or say second_look off"
        )
    if second_look == "auto":
        return known.ratio
    if isinstance(second_look, str) or not 0 <= second_look <= 1:
        raise OptionError(f'second_look is {second_look!r}; it must be "auto", "off", or a ratio from 0 to 1')
    return second_look
