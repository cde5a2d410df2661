"""Rounds weights to whole steps so that the errors of one row compensate those of another.

CPUs without VNNI multiply two neighbouring inputs (rows 2i and 2i + 1 of the weights) with an 8-bit instruction whose
sum saturates at 16 bits: answers would then change from machine to machine (onnxruntime#6004). An activation is at most
255, so nothing saturates while two neighbouring weights are at most 128 steps in sum: 255 x 128 < 2^15. Instead of 7
bits for each weight, two neighbours share one limit: the widest may take twice as many steps, each 1.4 times as fine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.int8.activations import Floats
from export.int8.recipe import LARGEST

# Added to the gram matrix's diagonal, as a share of its mean: the value in the GPTQ paper.
DAMPING = 0.01
BLOCK = 64
# Steps to try, as shares of the finest step that represents all weights of a column; below 1 the largest are clipped.
SHARES = (1.0, 0.85, 0.7)


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole numbers (inputs, outputs) int8, and the size of a step for each output, (outputs,) float32."""

    codes: NDArray[np.int8]
    steps: Floats


def step(sizes: Floats, pair_limit: int) -> NDArray[np.float64]:
    """The finest step for each output of weights of these sizes (inputs, outputs), (outputs,); 0 if all are zero.

    `pair_limit` is the most steps that two neighbouring inputs may have in sum.
    """
    # An input without a neighbour has the limit to itself, which is above `LARGEST`.
    sums = sizes[:-1:2] + sizes[1::2]
    return np.asarray(np.maximum(sizes.max(0) / LARGEST, sums.max(0, initial=0) / pair_limit), np.float64)


def round_nearest(weights: Floats, pair_limit: int, *, per_channel: bool = True) -> Grid:
    """Rounds each weight (inputs, outputs) to its nearest step, two neighbours at most `pair_limit` steps in sum."""
    steps = _steps(weights, pair_limit, per_channel)
    codes = np.zeros(weights.shape)
    for row, exact in enumerate(weights):
        codes[row] = _codes(exact, steps, _limit(codes, row ^ 1, pair_limit))
    return Grid(codes.astype(np.int8), steps.astype(np.float32))


def round_gptq(weights: Floats, gram: Floats, pair_limit: int, *, per_channel: bool = True) -> Grid:
    """Rounds weights (inputs, outputs) so that later rows compensate the errors of earlier ones.

    Two neighbours are at most `pair_limit` steps in sum. `gram` (inputs, inputs) is the sum of xᵀx over the measured
    inputs x. Each column keeps the step size, among those tried, that leaves least error in the product.
    """
    order = np.argsort(-np.diag(gram), kind="stable")
    factor, damping = _factor(gram.astype(np.float64)[np.ix_(order, order)])
    exact = weights[order].astype(np.float64)
    finest = _steps(weights, pair_limit, per_channel)
    shares = SHARES if per_channel else SHARES[:1]
    steps = np.stack([(finest * share).astype(np.float32) for share in shares]).astype(np.float64)
    codes, errors = _gptq(exact, factor, steps, pair_limit, order)
    differences = codes * steps - exact[:, None]
    errors -= damping * np.einsum("isj,isj->sj", differences, differences)
    best = np.argmin(errors, 0)[None]
    result = np.empty(exact.shape, np.int8)
    result[order] = np.take_along_axis(codes, best[None], 1)[:, 0]
    return Grid(result, np.take_along_axis(steps, best, 0)[0].astype(np.float32))


def _gptq(
    exact: NDArray[np.float64],
    factor: NDArray[np.float64],
    steps: NDArray[np.float64],
    pair_limit: int,
    order: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The codes (inputs, shares, outputs) that GPTQ finds (Frantar et al., 2022), and their errors (shares, outputs).

    Row by row, the widest input first, each row makes up for the errors of the rows before it, as far as their inputs
    correlate. Row i of `exact` is input `order[i]`; the first of two neighbours takes the steps it needs, the second
    those that remain. The rows before are looked up, as in LDLQ (Chee et al., 2023), instead of written to the rows
    after: the codes are the same, and neither an inverse nor a second pass over the rows for the error is needed.
    All `steps` (shares, outputs) go side by side, since a pass takes its time by the row, hardly by the column.
    """
    diagonal = np.diag(factor)
    feedback = np.ascontiguousarray((factor / diagonal).T)
    codes = np.zeros((len(exact), *steps.shape))
    residual = np.zeros((len(exact), steps.size))
    errors = np.zeros(steps.shape)
    # The row of every input; the last of an odd number of inputs has no neighbour and gets a row past the end.
    places = np.argsort(np.append(order, len(order)))
    neighbours = places[order ^ 1]
    for start in range(0, len(exact), BLOCK):
        stop = min(start + BLOCK, len(exact))
        before = feedback[start:stop, :start] @ residual[:start]
        for row in range(start, stop):
            owed = before[row - start] + feedback[row, start:row] @ residual[start:row]
            wanted = exact[row] + owed.reshape(steps.shape)
            codes[row] = _codes(wanted, steps, _limit(codes, neighbours[row], pair_limit))
            rounded = codes[row] * steps
            residual[row] = (exact[row] - rounded).ravel()
            errors += (diagonal[row] * (wanted - rounded)) ** 2
    return codes, errors


def _codes(weights: NDArray[Any], steps: NDArray[Any], limit: NDArray[np.float64]) -> NDArray[Any]:
    return np.asarray(np.clip(np.round(weights / steps), -limit, limit))


def _limit(codes: NDArray[np.float64], neighbour: int, pair_limit: int) -> NDArray[np.float64]:
    """The most steps that each weight's neighbour leaves to it; a row not yet rounded, or past the end, takes none."""
    taken = np.abs(codes[neighbour]) if neighbour < len(codes) else np.zeros(codes.shape[1:])
    return np.minimum(LARGEST, pair_limit - taken)


def _steps(weights: Floats, pair_limit: int, per_channel: bool) -> NDArray[np.float64]:
    """The step of each output, or the largest for all; 1 if the weights are zero."""
    steps = step(np.abs(weights), pair_limit)
    if not per_channel:
        steps[:] = steps.max()
    steps[steps == 0] = 1.0
    return steps


def _factor(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The upper triangular V such that VVᵀ is the damped gram matrix, and what the paper's damping adds to it.

    Where tokens are much alike, fp32's rounding in the sums may outweigh the damping; the damping is then doubled until
    the matrix is positive definite.
    """
    identity = np.eye(len(gram))
    # Where all inputs are zero on all windows, any positive number will do.
    damping = DAMPING * float(np.mean(np.diag(gram))) or 1.0
    while True:
        try:
            lower = np.linalg.cholesky((gram + damping * identity)[::-1, ::-1])
            return np.asarray(lower[::-1, ::-1], np.float64), damping
        except np.linalg.LinAlgError:
            gram = gram + damping * identity
            damping *= 2
