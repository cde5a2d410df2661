"""The arithmetic of quantization: rounding, narrowing, choosing."""

import numpy as np
import pytest

from export.int8.activations import Activation
from export.int8.outliers import APART, Treatment, error, treatment
from export.int8.quantize import Recipe
from export.int8.rounding import FREE, LARGEST, PORTABLE, Grid, compensated, nearest
from export.int8.sweep import Trial, best
from export.verify import Accuracy, Thresholds
from runtime.errors import ExportError

CHANNELS, OUTPUTS, TOKENS = 64, 24, 500
Floats = np.ndarray


@pytest.fixture
def weights() -> Floats:
    return np.random.default_rng(1).standard_normal((CHANNELS, OUTPUTS)).astype(np.float32)


@pytest.fixture
def inputs() -> Floats:
    """Tokens whose channels go together, as those of a model do."""
    random = np.random.default_rng(2)
    causes = random.standard_normal((TOKENS, 8))
    return (causes @ random.standard_normal((8, CHANNELS)) + 0.3 * random.standard_normal((TOKENS, CHANNELS))).astype(
        np.float32
    )


def activation(rows: Floats) -> Activation:
    """One window's measurements."""
    return Activation(rows.min(0)[None], rows.max(0)[None], rows.T @ rows, rows[::8], len(rows))


def squared_error(grid: Grid, weights: Floats, inputs: Floats) -> float:
    return float(np.sum((inputs @ (grid.codes * grid.steps) - inputs @ weights) ** 2))


def widest_pair(grid: Grid) -> int:
    """Steps of the two neighbouring inputs that have most."""
    sizes = np.abs(grid.codes.astype(int))
    return int(np.add.reduceat(sizes, np.arange(0, len(sizes), 2)).max())


@pytest.mark.parametrize("pair", [PORTABLE, FREE])
def test_compensated_rounding_halves_the_error_of_the_product(weights: Floats, inputs: Floats, pair: int) -> None:
    grid = compensated(weights, inputs.T @ inputs, pair)
    assert squared_error(grid, weights, inputs) < 0.5 * squared_error(nearest(weights, pair), weights, inputs)
    assert widest_pair(grid) <= pair
    assert np.abs(grid.codes.astype(int)).max() <= LARGEST


@pytest.mark.parametrize("channels", [CHANNELS, CHANNELS - 1])
def test_neighbours_share_the_room_that_any_cpu_has(weights: Floats, inputs: Floats, channels: int) -> None:
    weights, inputs = weights[:channels], inputs[:, :channels]
    for grid in (compensated(weights, inputs.T @ inputs, PORTABLE), nearest(weights, PORTABLE)):
        assert 120 <= widest_pair(grid) <= PORTABLE
        assert 64 < np.abs(grid.codes.astype(int)).max() <= LARGEST
    free = nearest(weights, FREE)
    assert np.all(np.abs(free.codes.astype(int)).max(0) == LARGEST)


@pytest.mark.parametrize(("pair", "steps"), [(FREE, 0.5001), (PORTABLE, 1.0001)])
def test_rounding_to_nearest_is_off_by_half_a_step_or_by_one_where_neighbours_fill_their_room(
    weights: Floats, pair: int, steps: float
) -> None:
    for per_channel in (True, False):
        grid = nearest(weights, pair, per_channel=per_channel)
        assert np.all(np.abs(grid.codes * grid.steps - weights) <= grid.steps * steps)
        assert np.unique(grid.steps).size == (OUTPUTS if per_channel else 1)


def test_inputs_that_are_always_zero_are_rounded_all_the_same(weights: Floats) -> None:
    grid = compensated(weights, np.zeros((CHANNELS, CHANNELS), np.float32), PORTABLE)
    assert np.all(np.isfinite(grid.steps))
    assert np.abs(grid.codes * grid.steps - weights).max() < 0.1 * np.abs(weights).max()


def test_a_gram_matrix_that_rounding_has_spoilt_is_damped_until_it_serves(weights: Floats) -> None:
    """Tokens that are all alike leave one large eigenvalue, and in fp32 negative ones beside it."""
    alike = np.ones((TOKENS, CHANNELS), np.float32)
    noise = np.random.default_rng(6).standard_normal((CHANNELS, CHANNELS)).astype(np.float32)
    gram = alike.T @ alike + 0.01 * TOKENS * (noise + noise.T)
    assert np.linalg.eigvalsh(gram).min() < -0.1 * TOKENS
    grid = compensated(weights, gram, PORTABLE)
    assert squared_error(grid, weights, alike) < 2 * squared_error(nearest(weights, PORTABLE), weights, alike)


def test_a_zero_column_stays_zero(weights: Floats, inputs: Floats) -> None:
    weights[:, 3] = 0
    assert not compensated(weights, inputs.T @ inputs, PORTABLE).codes[:, 3].any()


def treated_product(treated: Treatment, inputs: Floats, weights: Floats) -> Floats:
    """What the graph computes, in fp32 throughout."""
    thin = inputs[:, treated.apart] @ weights[treated.apart]
    return np.asarray((inputs / treated.scales) @ treated.weights(weights) + thin)


def test_treatment_leaves_the_product_as_it_is(weights: Floats, inputs: Floats) -> None:
    inputs[0, 5] = 400.0
    treated = treatment(activation(inputs), weights, PORTABLE)
    assert treated is not None
    np.testing.assert_allclose(treated_product(treated, inputs, weights), inputs @ weights, rtol=1e-3, atol=1e-2)


def test_a_channel_that_is_wide_at_one_token_goes_apart(weights: Floats, inputs: Floats) -> None:
    inputs[0, 5] = 400.0
    measured = activation(inputs)
    treated = treatment(measured, weights, PORTABLE)
    assert treated is not None
    assert 5 in treated.apart
    assert treated.apart.size == APART
    nothing = Treatment(np.ones(CHANNELS, np.float32), np.empty(0, np.int64))
    assert error(measured, weights, treated, PORTABLE) < 0.05 * error(measured, weights, nothing, PORTABLE)


def test_channels_of_equal_width_are_left_alone(weights: Floats) -> None:
    inputs = np.random.default_rng(3).uniform(-1, 1, (TOKENS, CHANNELS)).astype(np.float32)
    assert treatment(activation(inputs), weights, PORTABLE) is None


def test_predicted_error_is_the_measured_one(weights: Floats, inputs: Floats) -> None:
    """Of activation and weights rounded to nearest; the model halves the weights' share, for the compensation."""
    step = (inputs.max() - inputs.min()) / 255
    rounded = np.round(inputs / step) * step
    grid = nearest(weights, FREE)
    measured = np.sum((rounded @ (grid.codes * grid.steps) - inputs @ weights) ** 2)
    nothing = Treatment(np.ones(CHANNELS, np.float32), np.empty(0, np.int64))
    assert 0.4 * measured < error(activation(inputs), weights, nothing, FREE) < 1.2 * measured


def trial(name: str, size: float, agreement: float, f1: float, **changes: object) -> Trial:
    return Trial(name, Recipe(**changes), int(size * 1e6), agreement, Accuracy(50.0, f1), 10.0)  # type: ignore[arg-type]


FLOOR = Accuracy(55.0, 70.0)


def test_sweep_takes_the_smallest_that_keeps_its_f1() -> None:
    trials = [trial("large", 40, 0.99, 70.0), trial("small", 23, 0.95, 69.6), trial("poor", 20, 0.94, 69.0)]
    assert best(trials, FLOOR, Thresholds(), 200).name == "small"
    assert best(trials, FLOOR, Thresholds(f1_drop=1.0), 200).name == "poor"


def test_sweep_takes_the_truest_of_equal_sizes() -> None:
    trials = [trial("small", 22.8, 0.91, 70.0), trial("true", 23.4, 0.97, 69.7)]
    assert best(trials, FLOOR, Thresholds(), 200).name == "true"


def test_sweep_takes_the_first_of_what_its_rows_cannot_tell_apart() -> None:
    trials = [trial("default", 23, 0.976, 70.0), trial("other", 23, 0.981, 70.0)]
    assert best(trials, FLOOR, Thresholds(), 200).name == "default"
    assert best(trials, FLOOR, Thresholds(), 2_000).name == "other"


def test_sweep_never_takes_wider_weights_than_the_target_holds() -> None:
    trials = [trial("portable", 23, 0.95, 70.0), trial("wide", 23, 0.99, 70.0, target="avx512_vnni")]
    assert best(trials, FLOOR, Thresholds(), 200).name == "portable"


def test_sweep_without_a_good_recipe_says_so() -> None:
    with pytest.raises(ExportError, match=r"no recipe of the sweep stays within 0\.5 points of F1"):
        best([trial("poor", 20, 0.95, 60.0)], FLOOR, Thresholds(), 200)
