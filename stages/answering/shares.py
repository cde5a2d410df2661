"""Which files are this process's, where several processes share the files of one input."""

import heapq
from collections.abc import Mapping
from typing import NamedTuple

from runtime.errors import OptionError

# Variables for the number of a process and for the number of processes; then, each with its default, for the least
# number and for the step between two.
_SHARES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "1"}),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", {}),
)


class Share(NamedTuple):
    """Share `number` of `total`, counted from 1."""

    number: int
    total: int

    @property
    def suffix(self) -> str:
        """What sets its listing apart from those of the other shares."""
        return f"-{self.number}-of-{self.total}"


def share_of_environment(environment: Mapping[str, str]) -> Share | None:
    """The share that Slurm or Kubernetes gives this process, or None. Raises OptionError if only one of them is set."""
    for number, count, defaults in _SHARES:
        if number not in environment and count not in environment:
            continue
        for name, other in ((number, count), (count, number)):
            if name not in environment:
                # All processes would take all files.
                raise OptionError(f"{other} is {environment[other]}, but {name} is not set; set it, or give --part I/N")
        others = {name: environment.get(name) or default for name, default in defaults.items()}
        if part := _share_of(environment[number], environment[count], *others.values()):
            return part
        given = [f"{name} is {environment[name]}" for name in (number, count, *defaults) if name in environment]
        raise OptionError(f"{', '.join(given)}; give --part I/N")
    return None


def _share_of(number: str, count: str, least: str = "0", step: str = "1") -> Share | None:
    """The share of one of `count` processes, whose numbers are `least` and every `step`-th above it."""
    if not all(text.isdecimal() for text in (number, count, least, step)) or int(step) < 1:
        return None
    index, rest = divmod(int(number) - int(least), int(step))
    return Share(index + 1, int(count)) if not rest and 0 <= index < int(count) else None


def files_of(sizes: Mapping[str, int], share: Share) -> set[str]:
    """Names of the files that are the share's: each file is in exactly one share, and shares are about equal in bytes.

    The largest file first, each to the share that has least; a function of names and sizes alone.
    """
    # If there are more shares than files, some get none.
    shares = [(0, number) for number in range(1, min(share.total, len(sizes)) + 1)]
    mine = set()
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        total, number = heapq.heappop(shares)
        if number == share.number:
            mine.add(name)
        # A file costs something even if it is almost empty.
        heapq.heappush(shares, (total + size + 100, number))
    return mine
