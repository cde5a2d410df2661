"""CSVs as polars frames of text, a block of rows at a time."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl

from runtime.errors import InputError
from stages.common.files import open_regular
from stages.csvs.records import Records

# A block: large enough that polars' start-up per block vanishes. The bytes bound it where contexts are long.
BLOCK_ROWS = 512
BLOCK_BYTES = 1 << 20
STDIN = Path("/dev/stdin")


def read_sized_blocks(
    path: Path, required: Sequence[str], rows: int = BLOCK_ROWS
) -> Iterator[tuple[pl.DataFrame, int]]:
    """The file's rows in order, as text columns, with the bytes that they take in the file.

    At least one block, empty where the file holds only a header. A missing value is null, a quoted empty one is "".
    Raises InputError as `Records` does, with the row, and for what is no regular file, unless it is our own stdin.
    """
    with path.open("rb") if path == STDIN else open_regular(path) as stream:
        records = Records(stream, required)
        source, began = iter(records), 0
        block = _take(source, rows)
        if not block:
            yield pl.DataFrame(schema=dict.fromkeys(records.header, pl.String)), records.offset
        while block:
            yield _parse(block, records.header, records.row), records.offset - began
            began = records.offset
            block = _take(source, rows)


def _take(records: Iterator[bytes], rows: int) -> list[bytes]:
    """The next records: at most `rows`, and no more once they pass BLOCK_BYTES."""
    block, size = [], 0
    for record in islice(records, rows):
        block.append(record)
        size += len(record)
        if size >= BLOCK_BYTES:
            break
    return block


def _parse(block: list[bytes], columns: list[str], row: int) -> pl.DataFrame:
    # Behind a header of our own: polars takes U+FEFF at the start of what it reads for a BOM and drops it.
    numbers = [str(index) for index in range(len(columns))]
    text = b"".join([",".join(numbers).encode(), b"\n", *block])
    frame = pl.read_csv(io.BytesIO(text), schema=dict.fromkeys(numbers, pl.String), infer_schema=False)
    frame.columns = columns
    if frame.height != len(block):
        raise InputError(
            f"polars reads {frame.height} rows where the file has {len(block)}",
            row=row,
            remedy="please report this file",
        )
    return frame


def write_block(file: BinaryIO, block: pl.DataFrame) -> None:
    """Appends the rows as CSV, after a header if the file is empty.

    Quotes stand only where they are needed: with `quote_style="always"` null would be written as "" (polars#28589).
    """
    block.write_csv(file, include_header=file.tell() == 0, quote_style="necessary")
