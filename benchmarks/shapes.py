"""`python -m benchmarks.shapes`: what the shape of the input costs, as a share of the raw runtime's rows per second.

The same rows as one CSV, as a CSV each, and as 60 CSVs of ten; and with one row that is 200 windows long. The raw
runtime answers the rows of each shape, in the same process and round, from a list. Medians over the rounds.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from benchmarks import machine
from benchmarks.plots import bars
from runtime import Answerer, command
from runtime.cpu import available_cpus, limit_pools
from stages.answering.earlier import Settings
from stages.answering.mirrored import MirroredRun
from stages.answering.rows import AnswerJob, Columns, Counts
from stages.common.files import csv_files, size_of
from stages.common.mirror import open_mirror
from stages.common.progress import Progress

ROWS = 600
Row = tuple[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints a table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("build/model"))
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each shape (600)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each shape (3)")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="the shares as a picture, too")
    command.add_common(parser)
    return command.run("benchmarks.shapes", run_benchmark, parser.parse_args(argv))


def run_benchmark(options: argparse.Namespace) -> int:
    """Measures and prints a table. Returns the exit code."""
    threads = available_cpus()
    limit_pools(threads)
    answerer = Answerer.load(options.model, threads)
    print(machine.description(), "\n")
    print("| shape | rows/s | raw runtime | share |\n| --- | --- | --- | --- |")
    shares = []
    for name, files in shapes(sample_rows(options.rows)).items():
        ours, raw = measure(answerer, files, options.rounds)
        print(f"| {name} | {ours:.1f} | {raw:.1f} | {ours / raw:.2f} |", flush=True)
        shares.append((name, round(ours / raw, 2)))
    if options.plot:
        options.plot.write_text(bars("Rows per second, as a share of the raw runtime's", shares), "utf-8")
    return 0


def sample_rows(count: int) -> list[Row]:
    """That many rows of the samples, no two alike."""
    rows = []
    for path in sorted(Path("samples").glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows += [(row["question"], row["context"]) for row in csv.DictReader(file)]
    return [(f"{question} {number}", context) for number, (question, context) in enumerate(islice(cycle(rows), count))]


def shapes(rows: list[Row]) -> dict[str, list[list[Row]]]:
    """The rows as lists of CSVs."""
    # About 250 new words a window.
    long = "What is it?", " ".join(f"word{number}" for number in range(10_000))
    tens = [rows[first : first + 10] for first in range(0, len(rows), 10)]
    return {
        f"one CSV of {len(rows)}": [rows],
        f"{len(rows)} CSVs of one": [[row] for row in rows],
        f"{len(tens)} CSVs of ten": tens,
        "one CSV with a row of 200 windows": [[*rows[: len(rows) // 2], long, *rows[len(rows) // 2 :]]],
    }


def measure(answerer: Answerer, files: list[list[Row]], rounds: int) -> tuple[float, float]:
    """Rows per second of the stage and of the raw runtime, taking turns."""
    rows = [row for file in files for row in file]
    ours, raw = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            path = Path(folder, "in", f"{number // 100}/{number}.csv")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as stream:
                csv.writer(stream).writerows([("question", "context"), *file])
        for number in range(rounds):
            raw.append(len(rows) / seconds_of(lambda: list(answerer.answer(rows))))
            out = Path(folder, f"out-{number}")
            ours.append(len(rows) / seconds_of(partial(answer, answerer, Path(folder, "in"), out)))
    return statistics.median(ours), statistics.median(raw)


def answer(answerer: Answerer, source: Path, target: Path) -> None:
    """What the stage does once the model is loaded."""
    job = AnswerJob(answerer, answerer.bundle.manifest.decoding, Columns("question", "context", ""))
    files = csv_files(source)

    with open_mirror(target, "answer") as mirror, Progress(sum(map(size_of, files.values()))) as progress:
        run = MirroredRun(job, Settings("0", "0"), mirror, target, Counts(), progress)
        run.run(files, again=False, library=None)
        run.settle(set(files))
    if run.failures:
        raise RuntimeError("; ".join(run.failures.values()))


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that a function takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
