"""CSVs as polars frames of text, a block of rows at a time."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl

from runtime.errors import InputError
from stages.records import Records

# Rows a block: large enough that polars' start-up per block vanishes, small enough for contexts of 100,000 characters.
BLOCK_ROWS = 512


def read_blocks(path: Path, required: Sequence[str], rows: int = BLOCK_ROWS) -> Iterator[pl.DataFrame]:
    """The file's rows in order, as text columns; at least one block, empty where the file holds only a header.

    A missing value is null, a quoted empty one is "". Raises InputError as `Records` does, with the row.
    """
    with path.open("rb") as stream:
        records = Records(stream, required)
        schema = dict.fromkeys(records.header, pl.String)
        block = list(islice(records, rows))
        if not block:
            yield pl.DataFrame(schema=schema)
        while block:
            yield _parse(block, schema, records.row)
            block = list(islice(records, rows))


def _parse(block: list[bytes], schema: dict[str, type[pl.String]], row: int) -> pl.DataFrame:
    frame = pl.read_csv(io.BytesIO(b"".join(block)), has_header=False, schema=schema, infer_schema=False)
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
