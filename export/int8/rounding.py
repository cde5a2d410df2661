"""Weights in whole steps, rounded so that the errors of one row make up for those of another.

CPUs without VNNI multiply two neighbouring inputs (rows 2i and 2i + 1 of the weights) with an 8-bit instruction whose
sum has 16 bits, and cut off what is more: answers would then change from machine to machine (onnxruntime#6004). An
activation is at most 255, so nothing is cut off while two neighbours are 128 steps in sum: 255 x 128 < 2^15. That is
room for 7 bits each; shared by two, the widest weights can have twice that, and a step is 1.4 times as fine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.int8.activations import Floats

# Of the mean of the gram matrix's diagonal, added to it: the value of the paper.
DAMPING = 0.01
BLOCK = 128
# Most steps that a weight may be; that two neighbours may be in sum, on any CPU; and where the CPU sums in 32 bits.
LARGEST, PORTABLE, FREE = 127, 128, 2 * 127
# Of the finest step that holds all weights of a column, those that are tried: the largest weights are clipped then.
SHARES = (1.0, 0.85, 0.7)


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole numbers (inputs, outputs) int8, and the size of a step for each output, (outputs,) float32."""

    codes: NDArray[np.int8]
    steps: Floats


def step(weights: Floats, pair: int) -> NDArray[np.float64]:
    """The finest step for each output of weights (inputs, outputs), (outputs,); 0 where all are zero.

    `pair` is the most steps that two neighbouring inputs may have in sum.
    """
    sizes = np.abs(weights)
    sums = sizes[::2].copy()
    sums[: len(sizes) // 2] += sizes[1::2]
    return np.asarray(np.maximum(sizes.max(0) / LARGEST, sums.max(0) / pair), np.float64)


def nearest(weights: Floats, pair: int, *, per_channel: bool = True) -> Grid:
    """Each weight (inputs, outputs) at its nearest step, two neighbours at most `pair` steps in sum."""
    steps = _steps(weights, pair, per_channel)
    codes = np.zeros(weights.shape)
    for row, exact in enumerate(weights):
        codes[row] = _codes(exact, steps, _limit(codes, row ^ 1, pair))
    return Grid(codes.astype(np.int8), steps.astype(np.float32))


def compensated(weights: Floats, gram: Floats, pair: int, *, per_channel: bool = True) -> Grid:
    """The weights (inputs, outputs) in whole steps, the errors of some made up for by others.

    Two neighbours are at most `pair` steps in sum. `gram` (inputs, inputs) is the sum of xᵀx over the inputs x seen. Of
    the steps tried for a column, the one of least error in the product is kept.
    """
    order = np.argsort(-np.diag(gram), kind="stable")
    ordered, factor = _definite(gram.astype(np.float64)[np.ix_(order, order)])
    exact = weights[order].astype(np.float64)
    codes, steps = np.zeros(exact.shape), np.ones(exact.shape[1])
    least = np.full(exact.shape[1], np.inf)
    for share in SHARES if per_channel else SHARES[:1]:
        tried = (_steps(weights, pair, per_channel) * share).astype(np.float32).astype(np.float64)
        found = _gptq(exact, factor, tried, pair, order)
        difference = found * tried - exact
        error = np.einsum("ij,ij->j", difference, ordered @ difference)
        better = error < least
        codes, steps = np.where(better, found, codes), np.where(better, tried, steps)
        least = np.where(better, error, least)
    result = np.empty(codes.shape, np.int8)
    result[order] = codes
    return Grid(result, steps.astype(np.float32))


def _gptq(
    exact: NDArray[np.float64],
    factor: NDArray[np.float64],
    steps: NDArray[np.float64],
    pair: int,
    order: NDArray[np.intp],
) -> NDArray[np.float64]:
    """The codes that GPTQ finds (Frantar et al., 2022), row by row, the widest input first.

    What rounding a row adds to the product's error is taken back in the rows to come, as far as inputs that go together
    allow. Row i of `exact` is input `order[i]`; the first of two neighbours takes what room it needs, the other what is
    left.
    """
    left = exact.copy()
    codes = np.zeros_like(left)
    # The row of every input, and for the neighbour that the last of an odd number lacks, one that is not there.
    places = np.argsort(np.append(order, len(order)))
    neighbours = places[order ^ 1]
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        errors = np.empty_like(left[start:stop])
        for row in range(start, stop):
            codes[row] = _codes(left[row], steps, _limit(codes, neighbours[row], pair))
            errors[row - start] = (left[row] - codes[row] * steps) / factor[row, row]
            left[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return codes


def _codes(weights: NDArray[Any], steps: NDArray[Any], limit: NDArray[np.float64]) -> NDArray[Any]:
    return np.asarray(np.clip(np.round(weights / steps), -limit, limit))


def _limit(codes: NDArray[np.float64], neighbour: int, pair: int) -> NDArray[np.float64]:
    """The most steps beside a neighbour's; a row that is not rounded yet, or not there, takes none."""
    taken = np.abs(codes[neighbour]) if neighbour < len(codes) else np.zeros(codes.shape[1])
    return np.minimum(LARGEST, pair - taken)


def _steps(weights: Floats, pair: int, per_channel: bool) -> NDArray[np.float64]:
    """Of each output, or the largest for all; 1 where the weights are zero."""
    steps = step(weights, pair)
    if not per_channel:
        steps[:] = steps.max()
    steps[steps == 0] = 1.0
    return steps


def _definite(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The gram matrix, and the upper triangular U with UᵀU the inverse of it and its damping.

    Where tokens are much alike, what fp32 rounded in the sums may outweigh the damping: then the matrix gets as much
    more of it as makes it positive definite.
    """
    identity = np.eye(len(gram))
    # Inputs that are zero on all windows tell nothing: any positive number will do.
    damping = DAMPING * float(np.mean(np.diag(gram))) or 1.0
    while True:
        try:
            return gram, np.linalg.cholesky(np.linalg.inv(gram + damping * identity)).T
        except np.linalg.LinAlgError:
            gram = gram + damping * identity
            damping *= 2
