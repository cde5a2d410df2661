"""Parquet -> CSV, by polars, streamed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import InputError

if TYPE_CHECKING:
    import polars as pl


def write_parquet_as_csv(source: Path, target: Path) -> None:
    """Writes the table as CSV: text as it is, other types as text, nested ones as JSON, null as a missing field.

    Raises InputError for what is no Parquet file, or holds what has no text.
    """
    import polars as pl

    try:
        frame = pl.scan_parquet(source)
        columns = [_as_text(name, kind) for name, kind in frame.collect_schema().items()]
        frame.select(columns).sink_csv(target, quote_style="necessary")
    # polars says what it has not implemented by an exception that does not derive from Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"not readable as Parquet: {reason}", remedy="write the file again, or save it as CSV in UTF-8"
        ) from error


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
