"""`python -m benchmarks.datums`: what a datum costs in the local runner, above the work that is in it.

CSVs of one row, a datum each, by one worker: by one process for all (`--batch-datums`), and by a process for each. The
work itself is a call of the runtime for each row, or a COPY in a transaction for each file. The runner's own cost is
that of a stage that only copies. All figures are milliseconds for a datum, and in brackets those of them that the
runner and the stage were on a CPU; a run with one datum, which pays for the starts, is taken off.
"""

import argparse
import csv
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks import machine
from benchmarks.cost import Cost, cost_of_each, measure_cost
from benchmarks.shapes import sample_rows
from pachyderm.demo.database import embedded_postgres
from pachyderm.local.runner import Options, run
from pachyderm.local.store.results import PROCESSED
from pachyderm.local.store.store import Store
from pachyderm.local.worker.mapping import LocalMapping
from runtime import Answerer, command
from runtime.cpu import available_cpus, limit_pools
from stages.common.batching import OPTION
from stages.common.names import Origin
from stages.load import target_of
from stages.loading.copying import columns_of, examine, rows_to_copy
from stages.loading.files import open_csv
from stages.loading.options import arguments
from stages.loading.schema import prepare

STAGE = "stage"
CHARACTERS = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datums", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("build/model"))
    parser.add_argument("--datums", type=int, default=600, help="of `answer` and `load` (600)")
    parser.add_argument("--processes", type=int, default=20, help="those of them that are done by a process each (20)")
    parser.add_argument("--copies", type=int, default=5_000, help="datums that are only copied (5000)")
    command.add_common(parser)
    return command.run("benchmarks.datums", run_benchmark, parser.parse_args(argv))


def run_benchmark(options: argparse.Namespace) -> int:
    """Measures and prints. Returns the exit code."""
    print(machine.description(), "\n")
    print("| stage | the work itself | one process for all | above the work | a process for each |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(prefix="answermill-bench-") as name:
        folder = Path(name)
        if options.datums:
            answers = measure_answer(folder, options)
            measure_load(folder, answers, options)
        if options.copies:
            measure_runner(folder, options.copies)
    return 0


def measure_answer(folder: Path, options: argparse.Namespace) -> Path:
    """Prints a line. Returns the folder with the answers."""
    # Short ones: a row of 300 tokens takes ten times what is measured here, and so does its noise.
    rows = [(question, context[:CHARACTERS]) for question, context in sample_rows(options.datums)]
    questions = folder / "questions"
    for number, row in enumerate(rows):
        write_file(questions / f"{number:05}.csv", row)
    threads = available_cpus()
    limit_pools(threads)
    answerer = Answerer.load(options.model, threads)
    own = cost_of_each(lambda row: list(answerer.answer([row])), rows)
    words = ["python", "-m", "stages.answer", "/pfs/in", "/pfs/out", "--model", str(options.model.absolute())]
    trial = Trial(folder / "answer", questions, words)
    batched = trial.cost(options.datums, batched=True)
    print_line("answer", own, batched, trial.cost(options.processes, batched=False))
    return Store(trial.root(options.datums, batched=True)).repo(STAGE).head().folder


def measure_load(folder: Path, answers: Path, options: argparse.Namespace) -> None:
    """Prints a line."""
    with embedded_postgres(folder / "postgres") as url:
        own = cost_of_copies(url, answers)
        words = ["python", "-m", "stages.load", "/pfs/in", "/pfs/out"]
        trial = Trial(folder / "load", answers, words, {"DATABASE_URL": url})
        batched = trial.cost(options.datums, batched=True)
        print_line("load", own, batched, trial.cost(options.processes, batched=False))


def cost_of_copies(url: str, answers: Path) -> Cost:
    """The cost of one COPY in a transaction per file, and nothing else. Leaves no table."""
    target = target_of(arguments([str(answers), str(answers)]))
    files = []
    for path in sorted(answers.glob("*.csv")):
        answered = open_csv(path.name, Origin(path.name, 1), path, None)
        examine(answered, target)
        files.append((columns_of(answered, target), b"".join(rows_to_copy(answered, target))))
        answered.close()
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            prepare(connection, target, migrate=False)

        def copy(file: tuple[tuple[str, ...], bytes]) -> None:
            columns, rows = file
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            statement = sql.SQL("copy question_answer ({}) from stdin (format csv)").format(names)
            with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as into:
                into.write(rows)

        cost = cost_of_each(copy, files)
        connection.execute("drop table question_answer")
    return cost


def measure_runner(folder: Path, copies: int) -> None:
    """Prints a line, and what a second run over the same datums takes."""
    source, copied = folder / "copies", folder / "copied"
    for number in range(copies):
        write_file(source / f"{number:05}.csv", ("question", "context"))
    copy = ["cp", f"{source}/00000.csv", str(copied)]
    own = cost_of_each(lambda _: subprocess.run(copy, check=True), range(100))
    trial = Trial(folder / "copier", source, ["python", "-m", "benchmarks.copier", "/pfs/in", "/pfs/out"])
    batched = trial.cost(copies, batched=True)
    plain = Trial(folder / "cp", source, ["cp", "-rL", "/pfs/in/.", "/pfs/out/"]).cost(copies, batched=False)
    print_line("copying", own, batched, plain)
    root = trial.root(copies, batched=True)
    files = sum(path.is_file() for path in root.rglob("*"))
    journal = sum(path.stat().st_size for path in root.rglob("*.json*"))
    write_file(source / "more.csv", ("question", "context"))
    with measure_cost() as again:
        run(trial.options(root, source, batched=True))
    print(
        f"\n{copies:,} datums: {files / copies:.2f} files and {journal / copies:.0f} bytes of journal for each; "
        f"with one datum more and the others unchanged: {again.cost.wall / 1000:.2f} s"
    )


class Trial:
    """One stage as a pipeline, on CSVs of one folder."""

    def __init__(
        self, folder: Path, source: Path, words: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._files = sorted(source.iterdir())
        self._words = words
        self._environment = environment or {}

    def cost(self, count: int, *, batched: bool) -> Cost:
        """The cost of each of the first `count` datums, without the start of a process."""
        costs = []
        for few in (1, count):
            root = self.root(few, batched=batched)
            source = root.with_name(f"{root.name}-in")
            source.mkdir(parents=True)
            for path in self._files[:few]:
                shutil.copyfile(path, source / path.name)
            with measure_cost() as stretch:
                (job,) = run(self.options(root, source, batched=batched))
            if job.counts != {PROCESSED: few}:
                raise RuntimeError(f"{job.counts}: {job.reason}")
            costs.append(stretch.cost)
        return costs[1].minus(costs[0]).each(count - 1)

    def root(self, count: int, *, batched: bool) -> Path:
        """The runner's state after `cost`."""
        return self._folder / f"{count}-{'together' if batched else 'each'}"

    def options(self, root: Path, source: Path, *, batched: bool) -> Options:
        """The runner's options for a run over the files in `source`."""
        spec: dict[str, Any] = {
            "pipeline": {"name": STAGE},
            "input": {"pfs": {"name": "in", "repo": "csvs", "glob": "/*"}},
            "transform": {
                "image": "answermill:0.1.0",
                "cmd": [*self._words, *([OPTION] if batched else [])],
                "env": self._environment,
                "datumBatching": batched,
            },
            "datumSetSpec": {"perWorker": 1},
            "parallelismSpec": {"constant": 1},
        }
        return Options(root, {STAGE: spec}, LocalMapping(), {"csvs": source})


def write_file(path: Path, row: tuple[str, str]) -> None:
    """A CSV of one row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("question", "context"), row])


def print_line(stage: str, own: Cost, batched: Cost, each: Cost) -> None:
    """A line of the table."""
    print(f"| {stage} | {own} | {batched} | {batched.minus(own)} | {each} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
