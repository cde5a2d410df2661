"""One row on its way through the threads: cut into windows, run, decoded, and if it is a near tie looked at again."""

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from runtime import confidence
from runtime.answer import Answer, are_apart, ranked_answers
from runtime.decoding import Decoding
from runtime.graph import Graph, LazyGraph
from runtime.manifest import Confidence
from runtime.spans import Spans, candidate_spans
from runtime.windows import UnanswerableRowError, Window, Windower

Pair = tuple[str | None, str | None]
Ranked = tuple[Answer, ...]

# Spans per window that are compared for closeness if decoding itself needs only one.
COMPARED = 12
# What the ratio of two answers that share no letter is raised to. int8 moves the gap between their scores, which is a
# difference of logarithms, 2.5 times as far (2,395 rows of four data sets): where one answer is a part of the other,
# both begin or end at the same token, or at neighbours, and most of the error is common to both.
APART = 0.4


class Ranking(NamedTuple):
    """A row's answers, best first.

    Attributes:
        ratio: the share of the best answer's score that the second-best has; 0 without a second.
        apart: whether these two share no letter.

    """

    answers: Ranked
    ratio: float
    apart: bool = False

    @property
    def closeness(self) -> float:
        """What is compared with the ratio of the second look."""
        return self.ratio**APART if self.apart else self.ratio

    @classmethod
    def failure(cls, error: Exception) -> "Ranking":
        """The ranking of a row that cannot be answered."""
        return cls((Answer.failure(str(error)),), 0.0)


@dataclass(frozen=True, slots=True)
class RowAnswerer:
    """What answers a row: the graphs, and how their logits are decoded.

    Attributes:
        graph: reads every row.
        float_graph: reads a row again if its closeness is at least `second_look`; None for no row.
        curve: makes a confidence of score and ratio; None for no confidence.

    """

    graph: Graph
    float_graph: LazyGraph
    second_look: float | None
    curve: Confidence | None
    windower: Windower
    decoding: Decoding

    def candidates(self, graph: Graph, window: Window) -> tuple[Spans, Spans]:
        """The spans that the answers come from, and those that tell how close the second-best comes.

        Raises UnanswerableRowError.
        """
        logits = graph.logits(window)
        if not all(np.isfinite(each.max(initial=-np.inf, where=window.allowed)) for each in logits):
            # The best of such spans is whichever comes first, and its score 0.
            raise UnanswerableRowError("the model gives no numbers for this row")
        longest = self.decoding.max_answer_len
        spans = candidate_spans(*logits, window.allowed, count=self.decoding.candidates, max_answer_len=longest)
        if self.decoding.candidates > 1:
            return spans, spans
        # Where the reference looks at the best span alone, nothing else may take part in the answer.
        return spans, candidate_spans(*logits, window.allowed, count=COMPARED, max_answer_len=longest)

    def ranking(self, context: str, windows: Sequence[Window], spans: Sequence[tuple[Spans, Spans]]) -> Ranking:
        """The row's answers, out of the candidates of all its windows."""
        compared = dataclasses.replace(self.decoding, top_k=max(2, self.decoding.top_k))
        answers = ranked_answers(context, list(zip([each for _, each in spans], windows, strict=True)), compared)
        ranking = Ranking(answers[: self.decoding.top_k], confidence.ratio(answers), are_apart(answers[:2]))
        if self.decoding.candidates > 1:
            return ranking
        best = list(zip([each for each, _ in spans], windows, strict=True))
        return ranking._replace(answers=ranked_answers(context, best, self.decoding))

    def needs_second_look(self, ranking: Ranking) -> bool:
        """Whether the fp32 graph reads the row again."""
        return self.second_look is not None and ranking.closeness >= self.second_look

    def with_confidence(self, ranking: Ranking) -> Ranking:
        """The ranking with a confidence in its best answer."""
        best, *others = ranking.answers
        if self.curve is None or best.error:
            return ranking
        sure = confidence.of_answer(self.curve, best, ranking.ratio)
        return ranking._replace(answers=(dataclasses.replace(best, confidence=sure), *others))


class RowJob:
    """One row: tokenized by one thread, its windows spread over all threads, decoded by the one that ends last."""

    def __init__(self, pair: Pair, answerer: RowAnswerer) -> None:
        self.future: Future[Ranking] = Future()
        self._pair = pair
        self._answerer = answerer
        self._windows: list[Window] = []
        self._spans: dict[int, tuple[Spans, Spans]] = {}
        self._lock = threading.Lock()

    def begin(self, pool: ThreadPoolExecutor) -> None:
        """Cuts the row into windows, hands out all but the first, and runs that one."""
        try:
            self._windows = self._answerer.windower.windows(*self._pair)
            for index in range(1, len(self._windows)):
                pool.submit(self._run, index)
        except UnanswerableRowError as error:
            self.future.set_result(Ranking.failure(error))
        except BaseException as error:  # noqa: BLE001 - the consumer raises it; a panic of tokenizers is no Exception
            self.future.set_exception(error)
        else:
            self._run(0)

    def _run(self, index: int) -> None:
        try:
            spans = self._answerer.candidates(self._answerer.graph, self._windows[index])
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
        """Makes the error the row's answer; several windows may report one."""
        with self._lock:
            if not self.future.done():
                self.future.set_result(Ranking.failure(error))

    def _decode(self) -> Ranking:
        context, answerer = self._pair[1] or "", self._answerer
        ranking = answerer.ranking(context, self._windows, [self._spans[index] for index in range(len(self._windows))])
        if answerer.needs_second_look(ranking):
            # All windows by this one thread: such rows are few, and the others have rows of their own.
            graph = answerer.float_graph.get()
            spans = [answerer.candidates(graph, window) for window in self._windows]
            ranking = answerer.ranking(context, self._windows, spans)
        return answerer.with_confidence(ranking)
