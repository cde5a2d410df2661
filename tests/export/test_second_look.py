"""The second look's graph at export: weights are stored in half the room only where that changes no answer."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.evaluation import Row
from export.second_look import LEAST_CHECKED, RATIOS, TARGET, choose, write_second_look
from export.verify import is_same
from runtime.answerer import Answerer
from runtime.bundle import FLOAT_MODEL, MODEL, REVISION, Bundle
from tests.support.rows import answerable_pairs

SHORTEST = sorted(answerable_pairs(), key=lambda pair: len(pair[1]))
ROWS = [Row(question, context, ()) for question, context in SHORTEST[:LEAST_CHECKED]]


def stretch(graph: Path, target: Path, factor: float) -> None:
    """Multiplies every embedding: the layer norm behind them divides by what they are together."""
    model = onnx.load(graph)
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    for each in model.graph.initializer:
        if each.name in tables and len(each.dims) == 2:
            values = numpy_helper.to_array(each) * np.float32(factor)
            each.CopyFrom(numpy_helper.from_array(values, each.name))
    onnx.save(model, target)


@pytest.mark.parametrize(
    ("factor", "weights"),
    [(1.0, "float16"), pytest.param(3e-6, "float32", id="below float16"), pytest.param(1e6, "float32", id="above it")],
)
def test_weights_that_change_an_answer_stay_in_float32(
    factor: float, weights: str, fp32_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows' own ratios are so low that none is a near tie: the closest are compared all the same."""
    manifest = Bundle.open(fp32_bundle).manifest
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((fp32_bundle / name).read_bytes())
    stretch(fp32_bundle / MODEL, tmp_path / MODEL, factor)

    def answerer(graph: Path) -> Answerer:
        unfinished = Bundle(tmp_path, manifest)
        return Answerer(unfinished, unfinished.open_session(graph.name), 2)

    looked = list(answerer(tmp_path / MODEL).rankings((row.question, row.context) for row in ROWS))
    wanted = [ranking.answers[0] for ranking in looked]
    sure = [ranking._replace(ratio=0.1) for ranking in looked]
    with caplog.at_level(logging.INFO):
        look, final = write_second_look(tmp_path / MODEL, "v1", tmp_path, sure, wanted, ROWS, answerer)
    assert look.weights == weights
    assert ("so they are stored as float32" in caplog.text) is (weights == "float32")
    again = answerer(tmp_path / FLOAT_MODEL).answer((row.question, row.context) for row in ROWS)
    assert all(is_same(one, other) for one, other in zip(again, wanted, strict=True))
    assert final == sure
    stored = onnx.load(tmp_path / FLOAT_MODEL)
    assert {each.key: each.value for each in stored.metadata_props} == {REVISION: "v1"}


def test_the_cheapest_ratio_that_agrees_is_chosen() -> None:
    """Ten rows of a thousand differ, each at a ratio of 0.93; at 0.92 and below they are looked at again."""
    ratios = np.full(1000, 0.2)
    ratios[7::101] = 0.93
    without = np.ones(1000, bool)
    without[7::101] = False
    assert choose(ratios, without, np.ones(1000, bool)) == (0.92, 1.0)
    assert choose(ratios, np.ones(1000, bool), np.ones(1000, bool)) == (RATIOS[0], 1.0)


def test_where_no_ratio_is_enough_the_most_careful_is_taken() -> None:
    ratios, without = np.full(1000, 0.2), np.ones(1000, bool)
    without[::50] = False
    ratio, agreed = choose(ratios, without, np.ones(1000, bool))
    assert ratio == RATIOS[-1]
    assert agreed == pytest.approx(0.98) and agreed < TARGET
