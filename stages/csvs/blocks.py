"""CSVs as polars frames of text under the rules of `records`, checked a block of bytes at a time.

The rules of `records` are decided here by where quotes, commas and line ends stand, with numpy: 600 MB/s where Python's
csv module gives 55. A block that breaks one is left to `records`, which mends it or names the row.
"""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from runtime.errors import InputError
from stages.csvs.records import LONGEST, Records

if TYPE_CHECKING:
    from hashlib import _Hash

    from numpy.typing import NDArray

# Enough for polars' start-up per block to vanish; with 16 MiB the caches miss and parsing is a quarter slower.
BLOCK_BYTES = 2 << 20

# Looked up by byte: five times as fast as numpy.isin.
_BEFORE_QUOTE, _AFTER_QUOTE = np.zeros((2, 256), bool)
_BEFORE_QUOTE[list(b',\n"')] = True
_AFTER_QUOTE[list(b',\r\n"')] = True


# Records a block where they come one by one.
_RECORDS = 512


class IrregularError(Exception):
    """A block breaks a rule; which one and where is for `records` to say."""


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


def header_of(stream: io.BufferedReader, required: Sequence[str]) -> list[str]:
    """Names of the file's columns. Raises InputError as `Records` does."""
    stream.seek(0)
    return Records(stream, required).header


def scan(stream: io.BufferedReader, required: Sequence[str], block_bytes: int = BLOCK_BYTES) -> Iterator[pl.DataFrame]:
    """The file's rows in order, as text columns; at least one frame, empty where the file holds only a header.

    A missing value is null, a quoted empty one is "". Raises InputError as `Records` does, with the row.
    """
    schema = dict.fromkeys(header_of(stream, required), pl.String)
    yield pl.DataFrame(schema=schema)
    for block in scan_blocks(stream, required, block_bytes=block_bytes):
        try:
            yield parse(block, schema)
        except pl.exceptions.PolarsError as error:
            raise first_error(stream, required, error) from error


def scan_blocks(
    stream: io.BufferedReader, required: Sequence[str], digest: "_Hash | None" = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[Block]:
    """The file's records in blocks of at least one, from the file's beginning.

    Does not check UTF-8, nor rows whose widths cancel out; `parse` does. From the first block that breaks a rule on,
    `Records` decides, which mends some and names the others. `digest` is fed every byte that was read. Raises
    InputError as `Records` does, with the row.
    """
    width = len(header_of(stream, required))
    if digest:
        start = stream.tell()
        stream.seek(0)
        digest.update(stream.read(start))
    rows = 0
    try:
        for block in _blocks(stream, width, digest, block_bytes):
            yield block
            rows += block.ends.size
    except IrregularError:
        while digest and (piece := stream.read(block_bytes)):
            digest.update(piece)
        yield from _blocks_of_records(stream, required, rows)


def _blocks_of_records(stream: io.BufferedReader, required: Sequence[str], skip: int) -> Iterator[Block]:
    """What follows the first `skip` rows, by way of `Records`: slower, but it can read what needs mending."""
    stream.seek(0)
    records = islice(Records(stream, required), skip, None)
    while some := list(islice(records, _RECORDS)):
        lines = [line[:-2] + b"\n" if line.endswith(b"\r\n") else line for line in some]
        yield Block(0, b"".join(lines), np.cumsum([len(line) for line in lines]))


def first_error(stream: io.BufferedReader, required: Sequence[str], error: Exception) -> InputError:
    """The InputError of the first row that breaks a rule."""
    stream.seek(0)
    try:
        for _ in Records(stream, required):
            pass
    except InputError as broken:
        return broken
    return InputError(f"it cannot be read in blocks: {error}", remedy="pass it through the ingest stage")


def _blocks(stream: io.BufferedReader, width: int, digest: "_Hash | None", block_bytes: int) -> Iterator[Block]:
    """What is left of the stream, in blocks of at least one record."""
    rest = b""
    while chunk := stream.read(block_bytes):
        if digest:
            digest.update(chunk)
        data = rest + chunk
        block = whole_records(data, width)
        rest = data[block.size :]
        if len(rest) > LONGEST:
            raise IrregularError("a quote that never closes")
        if block.ends.size:
            yield block
    if rest:
        block = whole_records(rest + b"\n", width)
        if block.size <= len(rest):
            raise IrregularError("a quote that never closes")
        if block.ends.size:
            yield block


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


def parse(block: Block, schema: dict[str, type[pl.String]]) -> pl.DataFrame:
    """The block as text columns. Raises PolarsError where its bytes are not UTF-8 or a record is too wide."""
    # Behind a header of our own: polars takes U+FEFF at the start of what it reads for a BOM and drops it.
    numbers = [str(index) for index in range(len(schema))]
    text = b"".join([",".join(numbers).encode(), b"\n", block.text])
    frame = pl.read_csv(io.BytesIO(text), schema=dict.fromkeys(numbers, pl.String), infer_schema=False)
    frame.columns = list(schema)
    if frame.height != block.ends.size:
        raise pl.exceptions.ComputeError(f"{frame.height} rows of {block.ends.size} records")
    return frame
