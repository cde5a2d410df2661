"""Answers in bulk: rows spread over threads that share one session, in order, lazily, in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from runtime.answer import Answer
from runtime.bundle import Bundle
from runtime.cpu import available_cpus
from runtime.decoding import Decoding
from runtime.errors import OptionError
from runtime.graph import Graph, LazyGraph
from runtime.rows import Pair, Ranked, Ranking, RowAnswerer, RowJob
from runtime.spans import Floats
from runtime.windows import Window, Windower

# Rows in flight per thread. Enough that one long row at the head of the line does not leave the other threads idle.
ROWS_IN_FLIGHT = 32
# And code points of their texts, beyond which no further row is drawn: 40 rows of 500,000 took 640 MB.
TEXT_IN_FLIGHT = 1 << 17
# Half of a surrogate pair: as little of a text as a list or an array, which have no hash.
NO_TEXT = "\ud800"


class Answerer:
    """A loaded bundle. Safe to share between threads.

    Attributes:
        bundle: what it was loaded from.
        threads: threads that rows are spread over.
        second_look: rows whose closeness is at least this are answered again in fp32; None for none.

    """

    def __init__(
        self, bundle: Bundle, session: ort.InferenceSession, threads: int, second_look: float | None = None
    ) -> None:
        self.bundle = bundle
        self.threads = threads
        self.second_look = second_look
        token_types = bundle.manifest.inputs.token_types
        self._graph = Graph(session, token_types)
        self._float_graph = LazyGraph(lambda: Graph(bundle.float_session(), token_types))
        self._window, self._text = ROWS_IN_FLIGHT * threads, TEXT_IN_FLIGHT * threads
        # Not when a row needs it: another bundle may lie in the folder by then.
        self._tokenizer = bundle.tokenizer()
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
        ratio = _ratio(bundle, second_look)
        if ratio is not None:
            bundle.check_float_graph()
        return cls(bundle, bundle.session(), threads or available_cpus(), ratio)

    def answer(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Answer]:
        """The best answer to each (question, context), in order.

        Draws `pairs` lazily, at most `ROWS_IN_FLIGHT` rows per thread ahead of the consumer, and fewer long ones. A row
        that cannot be answered yields an Answer with `error` set. Raises OptionError at once for limits that the model
        cannot keep.
        """
        return (ranked[0] for ranked in self.rank(pairs, decoding))

    def rank(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Ranked]:
        """As `answer`, with the `top_k` best answers to each row: a tuple of at least one, best first."""
        return (ranking.answers for ranking in self.rankings(pairs, decoding))

    def rankings(self, pairs: Iterable[Pair], decoding: Decoding | None = None) -> Iterator[Ranking]:
        """As `rank`, with the ratio that decides about a second look."""
        manifest = self.bundle.manifest
        decoding = decoding or manifest.decoding
        windower = self.windower(decoding)
        rows = RowAnswerer(self._graph, self._float_graph, self.second_look, manifest.confidence, windower, decoding)
        return self._in_order(pairs, rows)

    def logits(self, window: Window) -> tuple[Floats, Floats]:
        """Start and end logits of one window, each (tokens,) float32. Raises UnanswerableRowError."""
        return self._graph.logits(window)

    def windower(self, decoding: Decoding) -> Windower:
        """What cuts rows into windows. Raises OptionError for limits that the model cannot keep."""
        inputs = self.bundle.manifest.inputs
        if decoding.max_seq_len > inputs.max_tokens:
            raise OptionError(
                f"max_seq_len is {decoding.max_seq_len}; this model takes at most {inputs.max_tokens} tokens"
            )
        limits = decoding.max_seq_len, decoding.doc_stride
        if limits not in self._windowers:
            self._windowers[limits] = Windower(self._tokenizer, inputs.cls_token_id, decoding)
        return self._windowers[limits]

    def _in_order(self, pairs: Iterable[Pair], rows: RowAnswerer) -> Iterator[Ranking]:
        """Answers in the order of `pairs`. Equal pairs in flight share one computation."""
        in_flight: deque[tuple[Pair, Future[Ranking]]] = deque()
        known: dict[Pair, tuple[Future[Ranking], int]] = {}
        source, text = iter(pairs), 0
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="answermill")

        def start(pair: Pair) -> Future[Ranking]:
            job = RowJob(pair, rows)
            pool.submit(job.begin, pool)
            return job.future

        try:
            while True:
                while len(in_flight) < self._window and text < self._text and (drawn := next(source, None)) is not None:
                    question, context = drawn
                    pair = _hashable(question), _hashable(context)
                    future, uses = known.get(pair) or (start(pair), 0)
                    known[pair] = future, uses + 1
                    text += 0 if uses else _length(pair)
                    in_flight.append((pair, future))
                if not in_flight:
                    return
                pair, future = in_flight.popleft()
                yield future.result()
                _, uses = known.pop(pair)
                if uses > 1:
                    known[pair] = future, uses - 1
                else:
                    text -= _length(pair)
        finally:
            pool.shutdown(cancel_futures=True)


def _hashable(text: str | None) -> str | None:
    """The text; what is none ends as an error of its row, and not of the rows that are compared with it."""
    return text if isinstance(text, str | None) else NO_TEXT


def _length(pair: Pair) -> int:
    return sum(len(text) for text in pair if text)


def _ratio(bundle: Bundle, second_look: float | Literal["auto", "off"]) -> float | None:
    """The ratio that the option comes to. Raises OptionError."""
    known = bundle.manifest.second_look
    if second_look == "off" or (second_look == "auto" and known is None):
        return None
    if known is None:
        raise OptionError(
            "second_look: this bundle holds no fp32 graph; export it with --second-look auto, or switch second_look off"
        )
    if second_look == "auto":
        return known.ratio
    if isinstance(second_look, str) or not 0 <= second_look <= 1:
        raise OptionError(f'second_look is {second_look!r}; it must be "auto", "off", or a ratio from 0 to 1')
    return second_look
