"""The rules of `records`, checked for a block of bytes by the positions of quotes, commas and line ends.

With numpy: 600 MB/s where Python's csv module gives 55. A block that breaks a rule is left to `records`, which mends it
or names the row.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Looked up by byte: five times as fast as numpy.isin.
_BEFORE_QUOTE, _AFTER_QUOTE = np.zeros((2, 256), bool)
_BEFORE_QUOTE[list(b',\n"')] = True
_AFTER_QUOTE[list(b',\r\n"')] = True


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
    quotes = np.flatnonzero(text == ord('"'))
    ends = outside_quotes(np.flatnonzero(text == ord("\n")), quotes) + 1
    if not ends.size:
        return Block(0, b"", ends)
    size = int(ends[-1])
    text, quotes = text[:size], quotes[: np.searchsorted(quotes, size)]
    _check_quotes(text, quotes)
    if b"\0" in data:
        raise IrregularError("a NUL byte")
    if (drop := line_ends_to_drop(text, quotes, ends)).size:
        return whole_records(np.delete(text, drop).tobytes(), width)._replace(size=size)
    if outside_quotes(np.flatnonzero(text == ord(",")), quotes).size != ends.size * (width - 1):
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
    text = np.frombuffer(joined, np.uint8)
    commas = outside_quotes(np.flatnonzero(text == ord(",")), np.flatnonzero(text == ord('"')))
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


def line_ends_to_drop(
    text: "NDArray[np.uint8]", quotes: "NDArray[np.intp]", ends: "NDArray[np.intp]"
) -> "NDArray[np.intp]":
    """Places of the carriage returns before line feeds, and of blank lines."""
    returns = np.flatnonzero(text == ord("\r"))
    if returns.size:
        returns = outside_quotes(returns, quotes)
        if np.any(text[returns + 1] != ord("\n")):
            raise IrregularError("a carriage return outside quotes")
    lengths = np.diff(ends, prepend=0)
    with_return = (lengths == 2) & (text[ends - 2] == ord("\r"))
    return np.concatenate((returns, ends[(lengths == 1) | with_return] - 1))


def outside_quotes(places: "NDArray[np.intp]", quotes: "NDArray[np.intp]") -> "NDArray[np.intp]":
    """Those places that an even number of quotes comes before."""
    outside: NDArray[np.intp] = places[np.searchsorted(quotes, places) % 2 == 0]
    return outside


def _check_quotes(text: "NDArray[np.uint8]", quotes: "NDArray[np.intp]") -> None:
    """Raises IrregularError unless quotes open at the start of a field, close at its end, or stand doubled between."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = text[opening[opening > 0] - 1]
    after = text[closing + 1]
    if not _BEFORE_QUOTE[before].all() or not _AFTER_QUOTE[after].all():
        raise IrregularError("a quote inside a field")
