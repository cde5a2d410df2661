"""Which files are this process's, where several processes share the files of one input."""

import argparse
import heapq
import re
from collections.abc import Mapping
from typing import NamedTuple

from runtime.errors import OptionError


class Share(NamedTuple):
    """Part `number` of `parts`, counted from 1."""

    number: int
    parts: int

    @property
    def suffix(self) -> str:
        """What sets its listing apart from those of the other parts."""
        return f"-{self.number}-of-{self.parts}"


def share(text: str) -> Share:
    """`2/8`, as the type of an option. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, as in 2/8")
    return Share(int(match[1]), int(match[2]))


def share_of_environment(environment: Mapping[str, str]) -> Share | None:
    """The share that Slurm or Kubernetes gives this process, or None. Raises OptionError where only half is said."""
    if (number := environment.get("SLURM_ARRAY_TASK_ID")) is not None:
        count, least = environment.get("SLURM_ARRAY_TASK_COUNT"), environment.get("SLURM_ARRAY_TASK_MIN", "0")
        return _numbers("SLURM_ARRAY_TASK_ID", number, "SLURM_ARRAY_TASK_COUNT", count, int(least or 0))
    if (number := environment.get("JOB_COMPLETION_INDEX")) is not None:
        return _numbers("JOB_COMPLETION_INDEX", number, "JOB_COMPLETIONS", environment.get("JOB_COMPLETIONS"), 0)
    return None


def _numbers(name: str, number: str, count_name: str, count: str | None, least: int) -> Share:
    if count is None:
        raise OptionError(f"{name} is {number}, but {count_name} is not set; set it, or give --part I/N")
    index = int(number) - least + 1 if number.isdecimal() and count.isdecimal() else 0
    if not 1 <= index <= int(count or 0):
        raise OptionError(f"{name} is {number} and {count_name} is {count}; give --part I/N")
    return Share(index, int(count))


def files_of(sizes: Mapping[str, int], part: Share) -> set[str]:
    """Names of the files that are the part's: each file is exactly one part's, and parts are about equal in bytes.

    The largest file first, each to the part that has least; a function of names and sizes alone.
    """
    parts = [(0, index) for index in range(1, part.parts + 1)]
    mine = set()
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        total, index = heapq.heappop(parts)
        if index == part.number:
            mine.add(name)
        # A file costs something even where it holds next to nothing.
        heapq.heappush(parts, (total + size + 100, index))
    return mine
