"""Which files are this process's, where several processes share the files of one input."""

import argparse
import heapq
import re
from collections.abc import Mapping
from typing import NamedTuple

from runtime.errors import OptionError

# Variables for the number of a process, for how many there are, and for the least number, which is else 0.
_SHARES = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", ""),
)


class Share(NamedTuple):
    """Share `number` of `total`, counted from 1."""

    number: int
    total: int

    @property
    def suffix(self) -> str:
        """What sets its listing apart from those of the other shares."""
        return f"-{self.number}-of-{self.total}"


def parse_share(text: str) -> Share:
    """`2/8`, as the type of an option. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, as in 2/8")
    return Share(int(match[1]), int(match[2]))


def share_of_environment(environment: Mapping[str, str]) -> Share | None:
    """The share that Slurm or Kubernetes gives this process, or None. Raises OptionError if only half is said."""
    for number_name, count_name, least_name in _SHARES:
        number, count = environment.get(number_name), environment.get(count_name)
        least = (environment.get(least_name) if least_name else None) or "0"
        if number is None and count is None:
            continue
        if number is None or count is None:
            # All processes would take all files.
            there, missing = (count_name, number_name) if number is None else (number_name, count_name)
            raise OptionError(f"{there} is {number or count}, but {missing} is not set; set it, or give --part I/N")
        known = number.isdecimal() and count.isdecimal() and least.isdecimal()
        index = int(number) - int(least) + 1 if known else 0
        if not known or not 1 <= index <= int(count):
            given = f"{number_name} is {number}, {count_name} is {count}"
            raise OptionError(f"{given}{f', {least_name} is {least}' if least_name else ''}; give --part I/N")
        return Share(index, int(count))
    return None


def files_of(sizes: Mapping[str, int], share: Share) -> set[str]:
    """Names of the files that are the share's: each file is in exactly one share, and shares are about equal in bytes.

    The largest file first, each to the share that has least; a function of names and sizes alone.
    """
    # A share beyond as many as there are files gets none.
    shares = [(0, number) for number in range(1, min(share.total, len(sizes)) + 1)]
    mine = set()
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        total, number = heapq.heappop(shares)
        if number == share.number:
            mine.add(name)
        # A file costs something even where it holds next to nothing.
        heapq.heappush(shares, (total + size + 100, number))
    return mine
