"""Spreads an export's work over the CPUs: one thread for each piece, and none inside a piece.

Left to themselves, the BLAS of numpy and torch share out every product among threads of their own, which wait for each
other by spinning: rounding the weights took twice the CPU time. The sums of a product then also depend on the number of
CPUs, and with them a bundle's last bits.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from runtime.cpu import available_cpus

Result = TypeVar("Result")


def side_by_side(work: Callable[..., Result], *pieces: Iterable[Any]) -> Iterator[Result]:
    """What `work` gives for each piece, in order, as of `map`. Raises what it raises."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(available_cpus(), "export") as pool:
        yield from pool.map(work, *pieces)
