"""Weights in whole steps, rounded so that the errors of one row make up for those of another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.activations import Floats

# Of the mean of the gram matrix's diagonal, added to it: the value of the paper.
DAMPING = 0.01
BLOCK = 128
# Of a column's largest magnitude, what the outermost step may stand for: the largest weights are clipped to it.
SHARES = (1.0, 0.9, 0.8)


@dataclass(frozen=True, slots=True)
class Grid:
    """Whole numbers (inputs, outputs) int8, and the size of a step for each output, (outputs,) float32."""

    codes: NDArray[np.int8]
    steps: Floats


def nearest(weights: Floats, levels: int, *, per_channel: bool = True) -> Grid:
    """Each weight (inputs, outputs) at its nearest step, `levels` of them on either side of zero."""
    steps = _largest(weights, per_channel) / levels
    return Grid(_codes(weights, steps, levels).astype(np.int8), steps.astype(np.float32))


def compensated(weights: Floats, gram: Floats, levels: int, *, per_channel: bool = True) -> Grid:
    """The weights (inputs, outputs) in whole steps, the errors of some made up for by others.

    `gram` (inputs, inputs) is the sum of xᵀx over the inputs x seen. Of the steps tried for a column, the one of least
    error in the product is kept. On 595 XQuAD rows, weights in 7 bits alone answer 98.8% as fp32 does, and 96.5% when
    each is rounded to its nearest.
    """
    order = np.argsort(-np.diag(gram), kind="stable")
    ordered = gram.astype(np.float64)[np.ix_(order, order)]
    factor = _inverse_factor(ordered.copy())
    exact = weights[order].astype(np.float64)
    codes, steps = np.zeros(exact.shape), np.ones(exact.shape[1])
    least = np.full(exact.shape[1], np.inf)
    for share in SHARES if per_channel else SHARES[:1]:
        tried = (_largest(weights, per_channel) * share / levels).astype(np.float32).astype(np.float64)
        found = _gptq(exact, factor, tried, levels)
        difference = found * tried - exact
        error = np.einsum("ij,ij->j", difference, ordered @ difference)
        better = error < least
        codes, steps = np.where(better, found, codes), np.where(better, tried, steps)
        least = np.where(better, error, least)
    result = np.empty(codes.shape, np.int8)
    result[order] = codes
    return Grid(result, steps.astype(np.float32))


def _gptq(
    exact: NDArray[np.float64], factor: NDArray[np.float64], steps: NDArray[np.float64], levels: int
) -> NDArray[np.float64]:
    """The codes that GPTQ finds (Frantar et al., 2022), row by row, the widest input first.

    What rounding a row adds to the product's error is taken back in the rows to come, as far as inputs that go together
    allow.
    """
    left = exact.copy()
    codes = np.empty_like(left)
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        errors = np.empty_like(left[start:stop])
        for row in range(start, stop):
            codes[row] = _codes(left[row], steps, levels)
            errors[row - start] = (left[row] - codes[row] * steps) / factor[row, row]
            left[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return codes


def _codes(weights: NDArray[Any], steps: NDArray[Any], levels: int) -> NDArray[Any]:
    return np.asarray(np.clip(np.round(weights / steps), -levels, levels))


def _largest(weights: Floats, per_channel: bool) -> NDArray[np.float64]:
    """Largest magnitude of each column, or of all; 1 where that is 0."""
    largest = np.asarray(np.abs(weights).max(0), np.float64)
    if not per_channel:
        largest[:] = largest.max()
    largest[largest == 0] = 1.0
    return largest


def _inverse_factor(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper triangular U with UᵀU the inverse of the damped gram matrix."""
    diagonal = np.diag_indices_from(gram)
    # Inputs that are zero on all windows tell nothing: any positive number will do.
    gram[diagonal] += DAMPING * np.mean(gram[diagonal]) or 1.0
    return np.linalg.cholesky(np.linalg.inv(gram)).T
