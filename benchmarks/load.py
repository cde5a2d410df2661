"""Rows into PostgreSQL: ours beside what psql copies, INSERTs and ADBC: one machine, one server, one run.

`python -m benchmarks.load` prints a Markdown table. Every contender fills an identical table with the primary key, in
turns, so that a slow moment of the machine meets them all; what counts are the ratios.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import psycopg

from benchmarks import machine
from benchmarks.answered import repeat_csv, write_csv
from benchmarks.loaders import Measured, adbc, insert_each, insert_many, ours, psql_copy
from pachyderm.demo.database import embedded_postgres
from runtime import command
from runtime.errors import DatabaseError
from stages.common.names import Origin
from stages.load import target_of
from stages.loading.copying import AnsweredCsv, columns_of, examine, rows_to_copy
from stages.loading.failures import one_line
from stages.loading.options import arguments
from stages.loading.schema import prepare
from stages.loading.target import Target


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000, help="rows of the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of \\copy, ours and ADBC (default: %(default)s)")
    parser.add_argument(
        "--memory", type=int, nargs=2, default=(20, 2000), metavar="MB", help="sizes to compare peak memory at"
    )
    parser.add_argument("--files", type=int, default=5_000, help="small files (default: %(default)s)")
    parser.add_argument("--database", help="where to run instead of on an embedded server: a libpq URI")
    command.add_common(parser)
    return command.run("benchmarks.load", run_benchmark, parser.parse_args(argv))


def run_benchmark(options: argparse.Namespace) -> int:
    """Measures on the server that is named, or an embedded one. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="answermill-bench-") as name:
        folder = Path(name)
        if options.database:
            try:
                psycopg.connect(options.database).close()
            except psycopg.Error as error:
                raise DatabaseError(f"--database: {one_line(error)}") from error
            measure(options, folder, options.database)
            return 0
        with embedded_postgres(folder / "postgres") as url:
            measure(options, folder, url)
    return 0


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
        print("ADBC is left out: pip install adbc-driver-postgresql pyarrow")
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
    with psycopg.connect(url) as connection:
        server = connection.info.parameter_status("server_version")
    print(f"\n{options.rows:,} rows, {source.stat().st_size / 1e6:.0f} MB; PostgreSQL {server} on the same machine")
    print(machine.description(), "\n")
    print("| | rows/s | MB/s | of `\\copy` | |\n| --- | ---: | ---: | ---: | --- |")
    size = source.stat().st_size / options.rows / 1e6
    for name, best in medians.items():
        runs = rounds.get(name)
        ratio = (
            statistics.median(run.rate / other.rate for run, other in zip(runs, reference, strict=True))
            if runs
            else best.rate / medians["psql `\\copy`"].rate
        )
        print(f"| {name} | {best.rate:,.0f} | {best.rate * size:.1f} | {ratio:.4f} | {best.note} |")
    print("\n| file | peak memory | rows |\n| ---: | ---: | ---: |")
    for megabytes in options.memory:
        big, rows = repeat_csv(source, folder / "big.csv", megabytes)
        empty_table(url, target)
        print(f"| {megabytes} MB | {peak_memory(url, big, folder / 'out'):.1f} MB | {rows:,} |")
    small_files(url, folder, options.files, options.rounds)


def empty_table(url: str, target: Target) -> None:
    """Makes an empty table of ours, and lets the server write everything that is still in memory."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop table if exists question_answer, question_answer_file")
        with connection.transaction():
            prepare(connection, target, migrate=False)
        connection.execute("checkpoint")


def peak_memory(url: str, source: Path, out: Path) -> float:
    """Peak memory of a loading process, in MB."""
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
    print(f"\n| {files:,} files of one row | files/s | times |\n| --- | ---: | ---: |")
    for name, seconds in measured.items():
        print(f"| {name} | {files / statistics.median(seconds):,.0f} | {slowest / statistics.median(seconds):.1f} |")


if __name__ == "__main__":
    sys.exit(main())
