"""The arithmetic of quantization: rounding, narrowing, choosing."""

import numpy as np
import pytest

from export.int8.activations import Activation
from export.int8.outliers import OUTLIER_CHANNELS, OutlierSplit, best_split, error
from export.int8.recipe import LARGEST, PORTABLE_PAIR_LIMIT, UNLIMITED, Recipe
from export.int8.rounding import Grid, round_gptq, round_nearest
from export.int8.sweep import Trial, best
from export.thresholds import Thresholds
from export.verify import Accuracy
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


@pytest.mark.parametrize("pair_limit", [PORTABLE_PAIR_LIMIT, UNLIMITED])
def test_compensated_rounding_halves_the_error_of_the_product(weights: Floats, inputs: Floats, pair_limit: int) -> None:
    grid = round_gptq(weights, inputs.T @ inputs, pair_limit)
    assert squared_error(grid, weights, inputs) < 0.5 * squared_error(
        round_nearest(weights, pair_limit), weights, inputs
    )
    assert widest_pair(grid) <= pair_limit
    assert np.abs(grid.codes.astype(int)).max() <= LARGEST


@pytest.mark.parametrize("channels", [CHANNELS, CHANNELS - 1])
def test_neighbours_stay_within_the_pair_limit(weights: Floats, inputs: Floats, channels: int) -> None:
    weights, inputs = weights[:channels], inputs[:, :channels]
    for grid in (
        round_gptq(weights, inputs.T @ inputs, PORTABLE_PAIR_LIMIT),
        round_nearest(weights, PORTABLE_PAIR_LIMIT),
    ):
        assert 120 <= widest_pair(grid) <= PORTABLE_PAIR_LIMIT
        assert 64 < np.abs(grid.codes.astype(int)).max() <= LARGEST
    free = round_nearest(weights, UNLIMITED)
    assert np.all(np.abs(free.codes.astype(int)).max(0) == LARGEST)


@pytest.mark.parametrize(("pair_limit", "steps"), [(UNLIMITED, 0.5001), (PORTABLE_PAIR_LIMIT, 1.0001)])
def test_rounding_to_nearest_is_off_by_half_a_step(weights: Floats, pair_limit: int, steps: float) -> None:
    """By half a step, or by a whole one where a neighbour leaves fewer steps than the weight needs."""
    for per_channel in (True, False):
        grid = round_nearest(weights, pair_limit, per_channel=per_channel)
        assert np.all(np.abs(grid.codes * grid.steps - weights) <= grid.steps * steps)
        assert np.unique(grid.steps).size == (OUTPUTS if per_channel else 1)


def test_inputs_that_are_always_zero_are_rounded_all_the_same(weights: Floats) -> None:
    grid = round_gptq(weights, np.zeros((CHANNELS, CHANNELS), np.float32), PORTABLE_PAIR_LIMIT)
    assert np.all(np.isfinite(grid.steps))
    assert np.abs(grid.codes * grid.steps - weights).max() < 0.1 * np.abs(weights).max()


def test_a_gram_matrix_that_is_not_definite_is_damped(weights: Floats) -> None:
    """Tokens that are all alike leave one large eigenvalue, and in fp32 negative ones beside it."""
    alike = np.ones((TOKENS, CHANNELS), np.float32)
    noise = np.random.default_rng(6).standard_normal((CHANNELS, CHANNELS)).astype(np.float32)
    gram = alike.T @ alike + 0.01 * TOKENS * (noise + noise.T)
    assert np.linalg.eigvalsh(gram).min() < -0.1 * TOKENS
    grid = round_gptq(weights, gram, PORTABLE_PAIR_LIMIT)
    assert squared_error(grid, weights, alike) < 2 * squared_error(
        round_nearest(weights, PORTABLE_PAIR_LIMIT), weights, alike
    )


def test_a_zero_column_stays_zero(weights: Floats, inputs: Floats) -> None:
    weights[:, 3] = 0
    assert not round_gptq(weights, inputs.T @ inputs, PORTABLE_PAIR_LIMIT).codes[:, 3].any()


def split_product(split: OutlierSplit, inputs: Floats, weights: Floats) -> Floats:
    """What the graph computes, in fp32 throughout."""
    branch = inputs[:, split.outlier_channels] @ weights[split.outlier_channels]
    return np.asarray((inputs / split.scales) @ split.weights(weights) + branch)


def test_split_leaves_the_product_as_it_is(weights: Floats, inputs: Floats) -> None:
    inputs[0, 5] = 400.0
    split = best_split(activation(inputs), weights, PORTABLE_PAIR_LIMIT)
    assert split is not None
    np.testing.assert_allclose(split_product(split, inputs, weights), inputs @ weights, rtol=1e-3, atol=1e-2)


def test_a_channel_wide_at_one_token_is_an_outlier(weights: Floats, inputs: Floats) -> None:
    inputs[0, 5] = 400.0
    measured = activation(inputs)
    split = best_split(measured, weights, PORTABLE_PAIR_LIMIT)
    assert split is not None
    assert 5 in split.outlier_channels
    assert split.outlier_channels.size == OUTLIER_CHANNELS
    nothing = OutlierSplit(np.ones(CHANNELS, np.float32), np.empty(0, np.int64))
    assert error(measured, weights, split, PORTABLE_PAIR_LIMIT) < 0.05 * error(
        measured, weights, nothing, PORTABLE_PAIR_LIMIT
    )


def test_channels_of_equal_width_are_left_alone(weights: Floats) -> None:
    inputs = np.random.default_rng(3).uniform(-1, 1, (TOKENS, CHANNELS)).astype(np.float32)
    assert best_split(activation(inputs), weights, PORTABLE_PAIR_LIMIT) is None


def test_predicted_error_is_the_measured_one(weights: Floats, inputs: Floats) -> None:
    """Of activation and weights rounded to nearest; the model halves the weights' share, for the compensation."""
    step = (inputs.max() - inputs.min()) / 255
    rounded = np.round(inputs / step) * step
    grid = round_nearest(weights, UNLIMITED)
    measured = np.sum((rounded @ (grid.codes * grid.steps) - inputs @ weights) ** 2)
    nothing = OutlierSplit(np.ones(CHANNELS, np.float32), np.empty(0, np.int64))
    assert 0.4 * measured < error(activation(inputs), weights, nothing, UNLIMITED) < 1.2 * measured


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


def test_sweep_takes_the_first_of_equal_trials() -> None:
    """Of trials that the rows cannot tell apart, the sweep takes the first."""
    trials = [trial("default", 23, 0.976, 70.0), trial("other", 23, 0.981, 70.0)]
    assert best(trials, FLOOR, Thresholds(), 200).name == "default"
    assert best(trials, FLOOR, Thresholds(), 2_000).name == "other"


def test_sweep_never_takes_wider_weights_than_the_target_holds() -> None:
    trials = [trial("portable", 23, 0.95, 70.0), trial("wide", 23, 0.99, 70.0, target="avx512_vnni")]
    assert best(trials, FLOOR, Thresholds(), 200).name == "portable"


def test_sweep_without_a_good_recipe_says_so() -> None:
    with pytest.raises(ExportError, match=r"no recipe of the sweep stays within 0\.5 points of F1"):
        best([trial("poor", 20, 0.95, 60.0)], FLOOR, Thresholds(), 200)
