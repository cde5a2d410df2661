"""The rules of `records`, checked for a block of bytes by the positions of quotes, commas and line ends.

With numpy: 600 MB/s where Python's csv module gives 55. A block that breaks a rule is left to `records`, which mends it
or names the row.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Looked up by byte: five times as fast as numpy.isin.
_BEFORE_QUOTE, _AFTER_QUOTE = np.zeros((2, 256), bool)
_BEFORE_QUOTE[list(b',\n"')] = True
_AFTER_QUOTE[list(b',\r\n"')] = True
# Bytes that are looked at together, more than in any block of short records. A place takes eight bytes: those of the
# commas of a field of 60 MB took 500 MB.
_SLICE_BYTES = 4 << 20


class IrregularError(Exception):
    """A block breaks a rule; `records` says which one, and where."""


class Block(NamedTuple):
    """Whole records at the start of some bytes.

    Attributes:
        size: bytes taken.
        text: those bytes without blank lines, every record ending in a bare line feed.
        ends: where in `text` each record ends.

    """

    size: int
    text: bytes
    ends: "NDArray[np.intp]"


def whole_records(data: bytes, width: int) -> Block:
    """The whole records at the start of `data`, which itself starts with a record.

    Of the records' fields only the total is checked; which of them has too many is for the parser to find. Raises
    IrregularError.
    """
    text = np.frombuffer(data, np.uint8)
    slices = _Slices(text)
    ends = slices.outside_quotes("\n") + 1
    if not ends.size:
        return Block(0, b"", ends)
    size = int(ends[-1])
    slices = slices.up_to(size)
    slices.check_quotes()
    if b"\0" in data:
        raise IrregularError("a NUL byte")
    if (drop := line_ends_to_drop(slices, ends)).size:
        return whole_records(np.delete(text[:size], drop).tobytes(), width)._replace(size=size)
    if slices.count_outside_quotes(",") != ends.size * (width - 1):
        raise IrregularError("records of different widths")
    return Block(size, data[:size], ends)


def whole_records_of_each(bodies: Sequence[bytes], width: int) -> list[Block]:
    """As `whole_records` of each, at the cost of one; none is empty, and each ends in a line feed.

    Raises IrregularError if one breaks a rule, and if a line is to be dropped, which would move all that follow.
    """
    if not bodies:
        return []
    joined = b"".join(bodies)
    block = whole_records(joined, width)
    if block.size != len(joined) or len(block.text) != block.size:
        raise IrregularError("a quote that never closes, or a line to drop")
    sizes = np.array([len(body) for body in bodies])
    last = np.cumsum(sizes)
    places = np.searchsorted(block.ends, last)
    # Where each ends with a record, no quote of one is closed by another; and widths must not cancel out between them.
    commas = _Slices(np.frombuffer(joined, np.uint8)).outside_quotes(",")
    held = np.diff(np.searchsorted(commas, last), prepend=0)
    if np.any(block.ends[places] != last) or np.any(held != np.diff(places, prepend=-1) * (width - 1)):
        raise IrregularError("a record that goes on in the next file, or records of different widths")
    ends = block.ends - np.repeat(last - sizes, np.diff(places, prepend=-1))
    stops = (places + 1).tolist()
    # Not with numpy.split: it takes ten times as long for a file of one row.
    return [
        Block(len(body), body, ends[start:stop])
        for body, start, stop in zip(bodies, [0, *stops[:-1]], stops, strict=True)
    ]


class _Slices:
    """Some bytes, a slice at a time, each with the places of its quotes and how many quotes come before it."""

    def __init__(self, text: "NDArray[np.uint8]", quotes: "NDArray[np.intp] | None" = None) -> None:
        self.text = text
        # Of few bytes they are looked for once.
        self._quotes = self._find('"', 0) if quotes is None and text.size <= _SLICE_BYTES else quotes

    def up_to(self, size: int) -> "_Slices":
        """The first bytes."""
        quotes = self._quotes
        return _Slices(self.text[:size], None if quotes is None else quotes[: np.searchsorted(quotes, size)])

    def outside_quotes(self, char: str) -> "NDArray[np.intp]":
        """Where the character stands with an even number of quotes before it."""
        places = list(self._outside_quotes(char))
        return places[0] if len(places) == 1 else np.concatenate(places)

    def count_outside_quotes(self, char: str) -> int:
        """How often it stands there."""
        return sum(places.size for places in self._outside_quotes(char))

    def check_quotes(self) -> None:
        """Raises IrregularError unless quotes open at the start of a field, close at its end, or stand doubled."""
        for _, quotes, before in self:
            _check_quotes(self.text, quotes[before % 2 :: 2], quotes[1 - before % 2 :: 2])

    def __iter__(self) -> "Iterator[tuple[int, NDArray[np.intp], int]]":
        """Where each slice begins, the places of its quotes, and how many come before them."""
        if self._quotes is not None:
            yield 0, self._quotes, 0
            return
        count = 0
        for first in range(0, self.text.size, _SLICE_BYTES):
            quotes = self._find('"', first)
            yield first, quotes, count
            count += quotes.size

    def _outside_quotes(self, char: str) -> "Iterator[NDArray[np.intp]]":
        for first, quotes, before in self:
            places = self._find(char, first)
            yield places[np.searchsorted(quotes, places) % 2 == before % 2]

    def _find(self, char: str, first: int) -> "NDArray[np.intp]":
        """Its places in the slice that begins there."""
        places: NDArray[np.intp] = np.flatnonzero(self.text[first : first + _SLICE_BYTES] == ord(char))
        return places + first if first else places


def line_ends_to_drop(slices: _Slices, ends: "NDArray[np.intp]") -> "NDArray[np.intp]":
    """Places of the carriage returns before line feeds, and of blank lines."""
    text, returns = slices.text, slices.outside_quotes("\r")
    if np.any(text[returns + 1] != ord("\n")):
        raise IrregularError("a carriage return outside quotes")
    lengths = np.diff(ends, prepend=0)
    with_return = (lengths == 2) & (text[ends - 2] == ord("\r"))
    return np.concatenate((returns, ends[(lengths == 1) | with_return] - 1))


def _check_quotes(text: "NDArray[np.uint8]", opening: "NDArray[np.intp]", closing: "NDArray[np.intp]") -> None:
    """Raises IrregularError for a quote inside a field."""
    before = text[opening[opening > 0] - 1]
    after = text[closing + 1]
    if not _BEFORE_QUOTE[before].all() or not _AFTER_QUOTE[after].all():
        raise IrregularError("a quote inside a field")
