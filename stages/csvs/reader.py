"""The reader of CSVs that all stages share: each file once, from its beginning, in blocks of whole records.

`regular` takes what keeps the rules, at the speed of numpy; from the first block that does not, `records` goes on,
which mends it or names the row. Nothing is read twice, so that a pipe can be read like a file.
"""

import io
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from runtime.errors import InputError
from stages.common.files import open_regular
from stages.csvs.parsing import SMALL_BYTES, parse
from stages.csvs.records import LONGEST, Records
from stages.csvs.regular import Block, IrregularError, whole_records

if TYPE_CHECKING:
    from hashlib import _Hash

STDIN = Path("/dev/stdin")
# Enough for polars' start-up per block to vanish; with 16 MiB the caches miss and parsing is a quarter slower.
BLOCK_BYTES = 2 << 20
# Most bytes of one read, however long the record is that is being read.
_READ_BYTES = 8 << 20
# Records, and bytes of them, in a block if they come one by one.
_RECORDS, _RECORD_BYTES = 512, 1 << 20
# Rows of a frame, where nobody asks for another number, and bytes of the block that it is cut from: where Python
# handles each row larger ones are no faster, and take 20 MiB more.
FRAME_ROWS, FRAME_BYTES = 512, 1 << 19


class Reader:
    """One CSV, to be iterated once, as `blocks` or as `frames`. Raises InputError as `Records` does, with the row.

    Attributes:
        header: names of the columns.

    """

    def __init__(
        self,
        stream: io.BufferedReader,
        required: Sequence[str],
        digest: "_Hash | None" = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """`digest` is fed every byte that is read."""
        self._stream = _CountedStream(stream, digest)
        self._records = Records(self._stream, required)
        self.header = self._records.header
        self.header_bytes = self._stream.count
        self._block_bytes = block_bytes
        # From the first record on that nobody has taken yet.
        self._data = b""

    def blocks(self) -> Iterator[Block]:
        """The records in blocks of at least one.

        Neither UTF-8 nor rows whose widths cancel out are checked; `frames` does that.
        """
        try:
            yield from self._regular_blocks()
            return
        except IrregularError:
            pass
        yield from self._mended_blocks()

    def frames(self) -> Iterator[tuple[pl.DataFrame, Block]]:
        """The same blocks, each with its rows as text columns. A missing value is null, a quoted empty one is ""."""
        is_read = False
        if not self._stream.is_small():
            is_read = yield from self._regular_frames()
        if not is_read:
            yield from self._mended_frames()

    def _regular_frames(self) -> Generator[tuple[pl.DataFrame, Block], None, bool]:
        """Frames up to the first block that breaks a rule. Returns whether there is none."""
        blocks = self._regular_blocks()
        while True:
            try:
                if (block := next(blocks, None)) is None:
                    return True
                frame = parse(block.text, block.ends.size, self.header)
            except (IrregularError, pl.exceptions.PolarsError):
                return False
            yield frame, block

    def _mended_frames(self) -> Iterator[tuple[pl.DataFrame, Block]]:
        for block in self._mended_blocks():
            try:
                frame = parse(block.text, block.ends.size, self.header)
            except pl.exceptions.PolarsError as error:
                raise InputError(
                    f"it cannot be read in blocks: {error}", remedy="pass it through the ingest stage"
                ) from error
            yield frame, block

    def _regular_blocks(self) -> Iterator[Block]:
        """Blocks that keep the rules. Raises IrregularError at the first that does not."""
        while chunk := self._stream.read_block(*self._read_bytes()):
            self._data += chunk
            block = whole_records(self._data, len(self.header))
            if len(self._data) - block.size > LONGEST:
                raise IrregularError("a quote that never closes")
            yield from self._take(block)
        if self._data:
            block = whole_records(self._data + b"\n", len(self.header))
            if block.size <= len(self._data):
                raise IrregularError("a quote that never closes")
            yield from self._take(block._replace(size=len(self._data)))

    def _read_bytes(self) -> tuple[int, int]:
        """How much to read: at most, and at least. A long record is not to be looked at for every block of it."""
        length = len(self._data)
        if length < self._block_bytes:
            return self._block_bytes, 1
        length = min(length, _READ_BYTES)
        return length, length

    def _take(self, block: Block) -> Iterator[Block]:
        if block.ends.size:
            yield block
        # Only now: whoever was given the block may have found a fault in it.
        self._data = self._data[block.size :]
        self._records.pass_over(block.ends.size, block.size)

    def _mended_blocks(self) -> Iterator[Block]:
        """What nobody has taken yet, by way of `Records`: slower, but it can read what needs mending."""
        self._stream.give_back(self._data)
        self._data = b""
        records = iter(self._records)
        while True:
            began = self._stream.position()
            lines, error = _take(records)
            if lines:
                yield Block(self._stream.position() - began, b"".join(lines), np.cumsum([len(line) for line in lines]))
            if error:
                raise error
            if not lines:
                return


class _CountedStream:
    """A stream that feeds a digest, counts its bytes, and takes some of them back."""

    def __init__(self, stream: io.BufferedReader, digest: "_Hash | None") -> None:
        self._stream = stream
        self._digest = digest
        self._back = io.BytesIO()
        self._is_pipe = not stream.seekable()
        self.count = 0

    def is_small(self) -> bool:
        """Whether it is a file of few bytes."""
        try:
            return not self._is_pipe and os.fstat(self._stream.fileno()).st_size <= SMALL_BYTES
        except io.UnsupportedOperation:
            return False

    def position(self) -> int:
        """Bytes that were read and not given back."""
        return self.count - len(self._back.getbuffer()) + self._back.tell()

    def peek(self, size: int = 0) -> bytes:
        return self._stream.peek(size)

    def readline(self, size: int = -1, /) -> bytes:
        line = self._back.readline(size)
        if line.endswith(b"\n") or len(line) == size:
            return line
        return line + self._read(self._stream.readline(size - len(line)))

    def read(self, size: int = -1, /) -> bytes:
        return self._read(self._stream.read(size))

    def read_block(self, most: int, least: int) -> bytes:
        """From a pipe what there is, so that rows are answered while the next ones are being written."""
        if not self._is_pipe:
            return self.read(most)
        data = self._read(self._stream.read1(most))
        return data + self.read(least - len(data)) if data and len(data) < least else data

    def give_back(self, data: bytes) -> None:
        self._back = io.BytesIO(data)

    def _read(self, data: bytes) -> bytes:
        self.count += len(data)
        if self._digest:
            self._digest.update(data)
        return data


def _take(records: Iterator[bytes]) -> tuple[list[bytes], InputError | None]:
    """The next records, each ending in a bare line feed; and what is wrong with the one behind them."""
    lines: list[bytes] = []
    size = 0
    try:
        for line in records:
            lines.append(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
            size += len(line)
            if len(lines) >= _RECORDS or size >= _RECORD_BYTES:
                break
    except InputError as error:
        return lines, error
    return lines, None


def open_source(path: Path) -> io.BufferedReader:
    """A CSV to read. Raises InputError for what is no regular file, unless it is our own stdin."""
    return path.open("rb") if path == STDIN else open_regular(path)


def read_frames(path: Path, required: Sequence[str], rows: int = FRAME_ROWS) -> Iterator[tuple[pl.DataFrame, int]]:
    """As `frames_of`, of the file at `path`. Raises InputError as `open_source` does, too."""
    with open_source(path) as stream:
        yield from frames_of(stream, required, rows)


def frames_of(
    stream: io.BufferedReader, required: Sequence[str], rows: int, digest: "_Hash | None" = None
) -> Iterator[tuple[pl.DataFrame, int]]:
    """The file's rows in order, at most so many at a time, with the bytes that they take in the file.

    At least one frame, empty if the file holds only a header. Raises InputError as `Reader` does; `digest` is fed every
    byte that is read.
    """
    reader = Reader(stream, required, digest, FRAME_BYTES)
    size = reader.header_bytes
    is_empty = True
    for frame, block in reader.frames():
        for first in range(0, frame.height, rows):
            part = frame.slice(first, rows)
            yield part, size + _size(block, first, first + part.height)
            size, is_empty = 0, False
    if is_empty:
        yield pl.DataFrame(schema=dict.fromkeys(reader.header, pl.String)), size


def _size(block: Block, first: int, end: int) -> int:
    """Bytes in the file of some of the block's rows; blank lines and carriage returns are shared among them."""
    share = block.size / len(block.text)
    began = int(block.ends[first - 1]) if first else 0
    return round(int(block.ends[end - 1]) * share) - round(began * share)
