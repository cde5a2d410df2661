"""Activations to codes and back, in a graph of their own."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.int8.activations import Activation
from export.int8.scales import Kind, quantize_activation

TOKENS, CHANNELS = 40, 96


def restored(rows: np.ndarray, measured: np.ndarray, kind: Kind) -> np.ndarray:
    """What a product sees of the rows (tokens, channels), whose scales were made for those that were measured."""
    constants = {}

    def constant(name: str, value: np.ndarray) -> str:
        constants[name] = numpy_helper.from_array(value, name)
        return name

    activation = Activation(
        measured.min(0)[None], measured.max(0)[None], measured.T @ measured, measured, len(measured)
    )
    codes, nodes = quantize_activation("x", activation, kind, constant)
    outputs = [codes.codes, codes.scale, codes.zero, *([codes.tokens] if codes.tokens else [])]
    nodes += [helper.make_node("Identity", [name], [f"out{place}"]) for place, name in enumerate(outputs)]
    graph = helper.make_graph(
        nodes,
        "codes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "tokens", CHANNELS])],
        [helper.make_empty_tensor_value_info(f"out{place}") for place in range(len(outputs))],
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found, scale, zero, *tokens = session.run(None, {"x": rows[None].astype(np.float32)})
    return np.asarray(((found.astype(np.float64) - zero) * scale * (tokens[0] if tokens else 1.0))[0])


@pytest.fixture
def rows() -> np.ndarray:
    """Values as GELU leaves them: few below zero, and none far; some tokens reach much further than others."""
    random = np.random.default_rng(4)
    reach = np.where(np.arange(TOKENS) % 10 == 0, 20.0, 1.0)[:, None]
    drawn = random.standard_normal((TOKENS, CHANNELS))
    return np.where(drawn > 0, drawn * reach, 0.05 * drawn).astype(np.float32)


@pytest.mark.parametrize("kind", ["fixed", "window", "token"])
def test_values_come_back_within_half_a_step(rows: np.ndarray, kind: Kind) -> None:
    step = (rows.max() - rows.min()) / 255
    assert np.abs(restored(rows, rows, kind) - rows).max() <= 0.51 * step * 1.1


def test_a_token_that_reaches_far_costs_the_others_nothing(rows: np.ndarray) -> None:
    low = rows.max(1) < 5
    by_window, by_token = (np.abs(restored(rows, rows, kind) - rows)[low].mean() for kind in ("window", "token"))
    assert by_token < 0.1 * by_window
    alone = restored(rows[low], rows, "token")
    np.testing.assert_array_equal(alone, restored(rows, rows, "token")[low])


def test_tokens_of_zeros_stay_zero(rows: np.ndarray) -> None:
    rows[3] = 0
    for measured in (rows, np.zeros_like(rows)):
        assert not restored(rows[3:4], measured, "token").any()
        assert np.all(np.isfinite(restored(rows, measured, "token")))


def test_values_without_negatives_have_their_place(rows: np.ndarray) -> None:
    positive = np.abs(rows)
    assert np.abs(restored(positive, positive, "token") - positive).max() <= 0.51 * positive.max() / 250
