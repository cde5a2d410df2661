"""Records -> a frame of text columns."""

import csv
import io
from collections.abc import Sequence

import polars as pl

# Bytes below which numpy and polars take longer to start than Python takes for all rows: 1.1 ms of a CPU for a file of
# one row instead of 0.15.
SMALL_BYTES = 1 << 13


def parse(records: bytes, count: int, header: Sequence[str]) -> pl.DataFrame:
    """So many records as text columns. Raises PolarsError if they are not UTF-8 or one is too wide."""
    if len(records) <= SMALL_BYTES and (small := _parse_small(records, header)) is not None and small.height == count:
        return small
    # Behind a header of our own: polars takes U+FEFF at the start of what it reads for a BOM and drops it.
    numbers = [str(index) for index in range(len(header))]
    text = b"".join([",".join(numbers).encode(), b"\n", records])
    frame = pl.read_csv(io.BytesIO(text), schema=dict.fromkeys(numbers, pl.String), infer_schema=False)
    frame.columns = list(header)
    if frame.height != count:
        raise pl.exceptions.ComputeError(f"{frame.height} rows of {count} records")
    return frame


def _parse_small(records: bytes, header: Sequence[str]) -> pl.DataFrame | None:
    """The records as text columns, without starting polars' engine; None where it takes polars to tell."""
    # Python's reader takes a quoted empty field for a missing one.
    if b'""' in records:
        return None
    try:
        rows = csv.reader(io.StringIO(records.decode(), newline=""), strict=True)
        columns = zip(header, zip(*rows, strict=True), strict=True)
        return pl.DataFrame(
            {name: pl.Series([text or None for text in column], dtype=pl.String) for name, column in columns}
        )
    except (ValueError, csv.Error):
        return None
