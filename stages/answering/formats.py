"""Answers as CSV, Parquet or NDJSON.

Until they are complete, the answers of a file are kept as a CSV: rows can be appended to it, and the next run can use
what an interrupted one left. Complete answers are converted.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

from stages.common.files import partial_name, whole_file
from stages.common.names import with_suffix
from stages.csvs.columns import ANSWER_COLUMNS, RANK

if TYPE_CHECKING:
    import polars as pl

    from stages.answering.rows import Columns

FORMATS = ("csv", "parquet", "ndjson")
# What a row group of a Parquet file takes in memory at most, about, and over how many bytes rows are averaged.
_GROUP_BYTES, _WINDOW_BYTES = 16 << 20, 16 << 20
_MOST_GROUP_ROWS = 100_000


def target_name(name: str, kind: str) -> str:
    """The path of a CSV's answers: `a.csv` -> `a.parquet`, `a.CSV` -> `a.CSV.parquet`; no two CSVs share one."""
    if kind == "csv":
        return name
    stem = name.removesuffix(".csv")
    return with_suffix(name if stem.lower().endswith(".csv") else stem, f".{kind}")


def write_csv(file: BinaryIO, block: "pl.DataFrame") -> None:
    """Appends the rows, after a header if the file is empty.

    Quotes stand only where they are needed: with `quote_style="always"` null would be written as "" (polars#28589).
    """
    block.write_csv(file, include_header=file.tell() == 0, quote_style="necessary")


def write_ndjson(file: BinaryIO, block: "pl.DataFrame") -> None:
    """Appends the rows, one object on each line."""
    block.write_ndjson(file)


@contextlib.contextmanager
def open_answers(target: Path, partial: Path | None, columns: "Columns", kind: str) -> Iterator[BinaryIO]:
    """A file to append answers to as CSV; `target` appears when it is whole, in the format that is wanted.

    As with `whole_file`, an interrupted run leaves `partial`; or, where it was interrupted in writing another format,
    the whole CSV beside it, as `.kept`.
    """
    if kind == "csv":
        with whole_file(target, partial) as file:
            yield file
        return
    draft = partial.with_suffix(".kept") if partial else target.with_name(f"{partial_name(target.name)}.csv")
    with whole_file(draft, partial) as file:
        yield file
    with whole_file(target) as file:
        _convert(draft, file, columns, kind)
    draft.unlink()


def open_as_csv(path: Path) -> BinaryIO:
    """Answers of any format as CSV, to read. Raises OSError, or PolarsError for what is damaged."""
    if path.suffix not in (".parquet", ".ndjson"):
        return path.open("rb")
    import polars as pl

    scan = pl.scan_parquet if path.suffix == ".parquet" else pl.scan_ndjson
    file = TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        scan(path).sink_csv(file, quote_style="necessary")
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _convert(source: Path, file: BinaryIO, columns: "Columns", kind: str) -> None:
    from stages.csvs.reader import Reader, read_frames

    if kind == "ndjson":
        for frame, _ in read_frames(source, ()):
            write_ndjson(file, _cast_numbers(frame, columns))
        return
    from polars.io.plugins import register_io_source

    with source.open("rb") as stream:
        reader = Reader(stream, ())
        empty = _cast_numbers(_empty(reader.header), columns)

        def frames(*_: object) -> Iterator["pl.DataFrame"]:
            for frame, _block in reader.frames():
                yield _cast_numbers(frame, columns)

        rows = register_io_source(frames, schema=empty.schema)
        rows.sink_parquet(file, row_group_size=_group_rows(source), maintain_order=True)


def _empty(header: list[str]) -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(schema=dict.fromkeys(header, pl.String))


def _cast_numbers(frame: "pl.DataFrame", columns: "Columns") -> "pl.DataFrame":
    """The rows with numbers in the columns of numbers that `answer` adds, at the end; all others stay text."""
    import polars as pl

    kinds = {"double precision": pl.Float64, "real": pl.Float64, "int": pl.Int64}
    types = {name: kinds[kind] for name, kind in ANSWER_COLUMNS.items() if kind in kinds} | {RANK: pl.Int64}
    added = {columns.prefix + name: kind for name, kind in types.items()}
    return frame.with_columns(pl.col(name).cast(added[name]) for name in columns.added if name in added)


def _group_rows(source: Path) -> int:
    """Rows of a row group, as it is held in memory: few where rows are long anywhere in the file."""
    from stages.csvs.reader import Reader

    longest, rows, size = 1.0, 0, 0
    with source.open("rb") as stream:
        for block in Reader(stream, ()).blocks():
            rows, size = rows + block.ends.size, size + block.size
            if size >= _WINDOW_BYTES:
                longest, rows, size = max(longest, size / rows), 0, 0
    longest = max(longest, size / rows if rows else 0)
    return max(1, min(_MOST_GROUP_ROWS, int(_GROUP_BYTES / longest)))
