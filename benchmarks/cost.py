"""What a piece of work costs: the time that passes, and the time on a CPU."""

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Cost(NamedTuple):
    """Milliseconds, and those of them on a CPU, of this process and what it started."""

    wall: float
    cpu: float

    def minus(self, other: "Cost") -> "Cost":
        """The cost less another one."""
        return Cost(self.wall - other.wall, self.cpu - other.cpu)

    def each(self, count: int) -> "Cost":
        """The cost of one of so many."""
        return Cost(self.wall / count, self.cpu / count)

    def __str__(self) -> str:
        return f"{self.wall:.1f} ({self.cpu:.1f})"


class Stretch:
    """What this process and its children spend from its beginning on; fixed by `end`."""

    def __init__(self) -> None:
        self._began = _cost_so_far()
        self.cost = Cost(0, 0)

    def end(self) -> None:
        """Fixes the cost."""
        self.cost = _cost_so_far().minus(self._began)


@contextmanager
def measure_cost() -> Iterator[Stretch]:
    """Measures what is done in the `with`."""
    stretch = Stretch()
    yield stretch
    stretch.end()


def _cost_so_far() -> Cost:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Cost(1000 * time.perf_counter(), 1000 * sum(usage.ru_utime + usage.ru_stime for usage in used))


def cost_of_each(work: Callable[[T], object], items: Iterable[T]) -> Cost:
    """What `work` costs per item, not counting the first item."""
    first, *others = items
    work(first)
    with measure_cost() as stretch:
        for item in others:
            work(item)
    return stretch.cost.each(len(others))
