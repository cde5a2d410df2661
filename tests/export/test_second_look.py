"""The second look's graph at export: weights are stored in half the room only where that changes no answer."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.evaluation import Row
from export.second_look import LEAST_CHECKED, RATIOS, TARGET, Bools, Floats, choose, noise, write_second_look
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
    manifest = dataclasses.replace(Bundle.open(fp32_bundle).manifest, files={})
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
        look, final = write_second_look(
            tmp_path / MODEL, "v1", tmp_path, sure, looked, ROWS, nobody(len(ROWS)), answerer
        )
    assert look.weights == weights
    assert ("so they are stored as float32" in caplog.text) is (weights == "float32")
    again = answerer(tmp_path / FLOAT_MODEL).answer((row.question, row.context) for row in ROWS)
    assert all(is_same(one, other) for one, other in zip(again, wanted, strict=True))
    assert final == sure
    stored = onnx.load(tmp_path / FLOAT_MODEL)
    assert {each.key: each.value for each in stored.metadata_props} == {REVISION: "v1"}


def nobody(rows: int) -> Bools:
    """int8 was fitted to none of so many rows."""
    return np.zeros(rows, bool)


def noisy_rows(rows: int, scale: float, seed: int) -> tuple[Floats, Floats, Bools, float]:
    """Made-up rows: int8's closeness, fp32's, whether their answers are the same, and the ratio to choose.

    Int8 moves the gap between the two best answers by logistic noise of a known scale.
    """
    random_numbers = np.random.default_rng(seed)
    gaps = random_numbers.exponential(1.5, rows)
    moved = gaps + random_numbers.logistic(0, scale, rows)
    limits = np.asarray(RATIOS)
    agreed = [1 - (1 / (1 + np.exp((gaps - np.log(limit)) / scale))).mean() for limit in limits]
    enough = limits[np.asarray(agreed) >= TARGET]
    return np.exp(-np.abs(moved)), np.exp(-gaps), moved > 0, float(enough[0] if len(enough) else limits[-1])


@pytest.mark.parametrize("scale", [0.02, 0.045, 0.08])
def test_the_size_of_the_noise_decides_about_the_ratio(scale: float) -> None:
    """Also with 200 rows, of which a handful differ, and whichever these are."""
    chosen, wanted = [], []
    for seed in range(40):
        ratios, float_ratios, same, best = noisy_rows(200, scale, seed)
        chosen.append(choose(ratios, float_ratios, same, nobody(200)))
        wanted.append(best)
    assert np.mean(wanted) - 0.03 < np.mean(chosen) <= np.mean(wanted)
    assert np.std(chosen) < 0.02


def test_the_chances_of_all_rows_are_the_rows_that_differ() -> None:
    ratios, float_ratios, same, _ = noisy_rows(20_000, 0.05, 1)
    scales = noise(ratios, float_ratios, same, nobody(20_000))
    assert scales == pytest.approx(np.full(20_000, 0.05), rel=0.03)
    assert (1 / (1 + float_ratios ** (-1 / scales))).sum() == pytest.approx((~same).sum(), rel=0.1)


def test_rows_that_int8_was_fitted_to_tell_nothing_of_its_noise() -> None:
    """They have hardly any; with too few others they are all there is."""
    ratios, float_ratios, same, _ = noisy_rows(400, 0.05, 2)
    observed = np.arange(400) < 300
    fitted = np.where(observed, float_ratios, ratios)
    wanted = choose(ratios, float_ratios, same, nobody(400))
    assert choose(fitted, float_ratios, same | observed, observed) == pytest.approx(wanted, abs=0.02)
    assert choose(fitted, float_ratios, same | observed, nobody(400)) > 0.93
    few = np.arange(400) < 360
    assert np.isfinite(noise(ratios, float_ratios, same, few)).all()


def test_int8_without_noise_needs_hardly_a_second_look() -> None:
    ratios = np.linspace(0.001, 0.98, 500)
    assert choose(ratios, ratios, np.ones(500, bool), nobody(500)) == RATIOS[0]


def test_where_no_ratio_is_enough_the_most_careful_is_taken() -> None:
    """Twenty of a thousand rows differ that are no near ties; or nothing is known of near ties at all."""
    ratios, without = np.full(1000, 0.2), np.ones(1000, bool)
    without[::50] = False
    assert choose(ratios, ratios, without, nobody(1000)) == RATIOS[-1]
    assert choose(np.zeros(3), np.zeros(3), np.ones(3, bool), nobody(3)) == RATIOS[-1]
    assert choose(np.full(1, 0.5), np.full(1, 0.5), np.ones(1, bool), nobody(1)) == RATIOS[-1]
