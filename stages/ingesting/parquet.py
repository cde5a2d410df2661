"""Parquet -> CSV, by polars, some rows at a time.

A text that many rows share stands in the file once: 1,400 bytes of Parquet became 1.3 GB of CSV, by way of 830 MB of
memory. So rows are counted before they are read, and as many are written at a time as their longest allows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import InputError
from stages.ingesting.limits import Limits, check_unpacked

if TYPE_CHECKING:
    import polars as pl


# Rows that are written at a time, and bytes of them.
_ROWS, _BYTES = 10_000, 16 << 20


def write_parquet_as_csv(source: Path, target: Path, limits: Limits) -> None:
    """Writes the table as CSV: text as it is, other types as text, nested ones as JSON, null as a missing field.

    Raises InputError for what is no Parquet file, holds what has no text, or becomes too large.
    """
    import polars as pl

    size = source.stat().st_size
    try:
        frame = pl.scan_parquet(source)
        schema = frame.collect_schema()
        columns = [_as_text(name, kind) for name, kind in schema.items()]
        count = int(frame.select(pl.len()).collect().item())
        check_unpacked(count * len(columns), size, "a Parquet file", limits)
        with target.open("wb") as file:
            frame.head(0).collect().select(columns).write_csv(file, quote_style="necessary")
            for batch in frame.collect_batches(chunk_size=_rows_at_a_time(frame), maintain_order=True):
                batch.select(columns).write_csv(file, include_header=False, quote_style="necessary")
                check_unpacked(file.tell(), size, "a Parquet file", limits)
    # polars says what it has not implemented by an exception that does not derive from Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"not readable as Parquet: {reason}", remedy="write the file again, or save it as CSV in UTF-8"
        ) from error


def _rows_at_a_time(frame: "pl.LazyFrame") -> int:
    import polars as pl

    weights = [_weight(pl.col(name), kind) for name, kind in frame.collect_schema().items()]
    if not weights:
        return _ROWS
    longest = frame.select(pl.sum_horizontal(weights).max()).collect(engine="streaming").item()
    return max(1, min(_ROWS, _BYTES // (longest or 1)))


def _weight(column: "pl.Expr", kind: "pl.DataType") -> "pl.Expr":
    """Bytes of the text in each value, or 1."""
    import polars as pl

    if kind in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String).str.len_bytes().cast(pl.UInt64).fill_null(0)
    if isinstance(kind, pl.List):
        (inner,) = _inner(kind)
        return column.list.eval(_weight(pl.element(), inner)).list.sum().cast(pl.UInt64).fill_null(0)
    if isinstance(kind, pl.Struct):
        names = [field.name for field in kind.fields]
        fields = [_weight(column.struct.field(name), inner) for name, inner in zip(names, _inner(kind), strict=True)]
        return pl.sum_horizontal([pl.lit(1, pl.UInt64), *fields])
    return column.is_not_null().cast(pl.UInt64)


def _as_text(name: str, kind: "pl.DataType") -> "pl.Expr":
    import polars as pl

    column = pl.col(name)
    if reason := _without_text(kind):
        raise InputError(reason, row=0, column=name, remedy="leave the column out, or store it as text")
    if kind == pl.Time:
        # A cast leaves out what is less than a second.
        return column.dt.to_string("%H:%M:%S%.f")
    if kind == pl.Duration:
        return column.dt.to_string("iso")
    if not kind.is_nested():
        return column.cast(pl.String)
    # Only structs can be written as JSON; of `{"":[1,2]}` what is wanted stands between the colon and the brace.
    text = pl.struct(column.alias("")).struct.json_encode().str.slice(4)
    text = text.str.head(-1)
    return pl.when(column.is_null()).then(None).otherwise(text).alias(name)


def _without_text(kind: "pl.DataType") -> str | None:
    """What of the type cannot be written as text, in words; None if all of it can."""
    import polars as pl

    if kind == pl.Binary:
        return "bytes, not text"
    if isinstance(kind, pl.Map) and kind.key not in (pl.String, pl.Categorical, pl.Enum):
        return "a map whose keys are not text"
    return next(filter(None, map(_without_text, _inner(kind))), None)


def _inner(kind: "pl.DataType") -> "Iterator[pl.DataType]":
    """The types that a nested one is made of."""
    import polars as pl

    if isinstance(kind, pl.List | pl.Array):
        yield pl.Series(dtype=kind.inner).dtype
    elif isinstance(kind, pl.Map):
        yield pl.Series(dtype=kind.value).dtype
    elif isinstance(kind, pl.Struct):
        yield from (pl.Series(dtype=field.dtype).dtype for field in kind.fields)
