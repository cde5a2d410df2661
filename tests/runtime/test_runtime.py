"""The runtime on the shipped checkpoint: order, independence, errors, and the reference's answers."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Answer, Answerer, Decoding
from runtime.answerer import ROWS_IN_FLIGHT, TEXT_IN_FLIGHT
from runtime.errors import BundleError, OptionError
from runtime.graph import Graph
from runtime.spans import Floats
from runtime.windows import Window
from tests.conftest import CHECKPOINT, ROOT
from tests.support.oracle import assert_same_answers, reference_pipeline
from tests.support.rows import NASTY, answerable_pairs, sample_pairs


@pytest.fixture(scope="module")
def int8(int8_bundle: Path) -> Answerer:
    return Answerer.load(int8_bundle, threads=2)


@pytest.fixture(scope="module")
def int8_answers(int8: Answerer) -> list[Answer]:
    return list(int8.answer(sample_pairs()))


def test_answers_are_spans_of_their_contexts(int8_answers: list[Answer]) -> None:
    for (_, context), answer in zip(sample_pairs(), int8_answers, strict=True):
        if answer.error is None:
            assert context[answer.start : answer.end] == answer.text


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_answers_do_not_depend_on_threads(int8_bundle: Path, int8_answers: list[Answer], threads: int) -> None:
    assert list(Answerer.load(int8_bundle, threads).answer(sample_pairs()[:60])) == int8_answers[:60]


def test_answers_do_not_depend_on_order_or_company(int8: Answerer, int8_answers: list[Answer]) -> None:
    rows = list(enumerate(sample_pairs()))
    random.Random(7).shuffle(rows)
    mixed = [*rows[:80], (-1, ("", "x")), (-1, ("Who?", "word " * 5000)), *rows[:20]]
    found = int8.answer(pair for _, pair in mixed)
    for (index, _), answer in zip(mixed, found, strict=True):
        assert index < 0 or answer == int8_answers[index]


def test_a_row_alone_is_answered_as_in_company(int8: Answerer, int8_answers: list[Answer]) -> None:
    for index in range(0, 200, 29):
        assert list(int8.answer([sample_pairs()[index]])) == [int8_answers[index]]


@pytest.mark.parametrize(
    ("pair", "error"),
    [
        (("", "context"), "empty question"),
        ((" \n", "context"), "empty question"),
        (("question", ""), "empty context"),
        (("question", None), "empty context"),
        (("question", "\u200b\x07"), "empty context"),
        (("why " * 500, "context"), "question too long"),
        (("why " * 300, "because " * 100), "question too long"),
        (("half a pair \ud83d", "context"), "not text"),
        (("question", 7), "not text"),
        ((["question"], {"context"}), "not text"),
        (("question", np.zeros(2)), "not text"),
    ],
)
def test_unanswerable_row_carries_its_error_alone(
    int8: Answerer, int8_answers: list[Answer], pair: tuple[str, str], error: str
) -> None:
    good = sample_pairs()[0]
    assert list(int8.answer([good, pair, good])) == [int8_answers[0], Answer.failure(error), int8_answers[0]]


def test_long_question_is_answered_where_the_context_fits(int8: Answerer) -> None:
    assert next(int8.answer([("why " * 300 + "?", "Rain fell.")])).error is None


@pytest.mark.parametrize("blanks", [1, 200_000])
def test_rows_are_drawn_as_they_are_needed(int8: Answerer, blanks: int) -> None:
    """Few of those that are long, whose windows would fill memory."""
    drawn = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield f"Who is number {drawn}?", " " * blanks

    answers = int8.answer(endless())
    for _ in range(10):
        next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert drawn <= 10 + int8.threads * min(ROWS_IN_FLIGHT, TEXT_IN_FLIGHT // blanks + 1)


def test_an_error_of_the_source_reaches_the_consumer(int8: Answerer) -> None:
    """An error of the source reaches the consumer and ends the threads."""

    def broken() -> Iterator[tuple[str, str]]:
        yield "Who?", "Bob."
        raise ConnectionError("the source is gone")

    with pytest.raises(ConnectionError, match="the source is gone"):
        list(int8.answer(broken()))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("answermill")]


def test_equal_pairs_in_flight_are_computed_once(int8: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    logits = Graph.logits

    def counted(self: Graph, window: Window) -> tuple[Floats, Floats]:
        runs.append(window)
        return logits(self, window)

    monkeypatch.setattr(Graph, "logits", counted)
    answers = list(int8.answer([("Who?", "Bob did it.")] * 500 + [("What?", "Bob did it.")]))
    assert len(answers) == 501
    assert len(runs) < 500 / ROWS_IN_FLIGHT


def test_window_beyond_the_model_is_refused_at_once(int8: Answerer) -> None:
    with pytest.raises(OptionError, match="at most 512"):
        int8.answer([], Decoding(max_seq_len=600))


def test_nothing_is_reported_or_written_into_the_home_folder(int8_bundle: Path, tmp_path: Path) -> None:
    script = (
        f"from runtime import Answerer; print(next(Answerer.load({str(int8_bundle)!r}).answer([('Who?', 'Bob.')])))"
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_threads_below_one_are_refused(int8_bundle: Path) -> None:
    with pytest.raises(OptionError, match="threads is 0"):
        Answerer.load(int8_bundle, threads=0)


def test_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"no bundle at {tmp_path}/none: make one with"):
        Answerer.load(tmp_path / "none")


@pytest.fixture(scope="module")
def reference() -> Any:
    return reference_pipeline(CHECKPOINT)


OPTIONS = [
    Decoding(),
    Decoding(top_k=3, align_to_words=False),
    Decoding(top_k=20, max_answer_len=50),
    Decoding(top_k=3, max_answer_len=1, handle_impossible_answer=True),
    Decoding(top_k=1, align_to_words=False, max_seq_len=64, doc_stride=16),
    Decoding(top_k=20, max_seq_len=96, doc_stride=48, handle_impossible_answer=True),
]


@pytest.mark.filterwarnings("ignore")
def test_a_context_of_twenty_thousand_words_is_answered(reference: Any, fp32_bundle: Path) -> None:
    """The answer is that of the reference pipeline."""
    words = " ".join(text for _, text in answerable_pairs()).split()
    pair = "What is the deposit for the flat?", " ".join((words * 3)[:20_000])
    assert_same_answers(reference, Answerer.load(fp32_bundle), [pair], Decoding(top_k=3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("decoding", OPTIONS, ids=repr)
def test_fp32_answers_are_those_of_the_reference(reference: Any, fp32_bundle: Path, decoding: Decoding) -> None:
    answerer = Answerer.load(fp32_bundle)
    # Rows spread over all files for every set of options; all rows for the default.
    pairs = answerable_pairs()[:: 1 if decoding == Decoding() else 8]
    nasty = [pair for name, pair in NASTY.items() if name != "long question" or decoding.max_seq_len > 200]
    pairs += nasty
    assert_same_answers(reference, answerer, pairs, decoding)
