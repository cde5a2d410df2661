"""`make demo`: the whole way on one machine, from the CSVs in samples/ to answers in a PostgreSQL of its own.

The shipped specs, run by the local runner: a bucket (an emulator over HTTP) -> ingest -> question-answer -> load -> an
embedded PostgreSQL -> prune. Ends with what the database holds: rows, refusals, accuracy against the `expected` column,
ten answers, and the commands that show its jobs, logs and rows. A second run skips every datum that has not changed.
"""

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from pachyderm.credentials import BUCKET_SECRET, DATABASE_SECRET
from pachyderm.demo.bucket import BUCKET, emulated_bucket
from pachyderm.demo.database import embedded_postgres
from pachyderm.errors import PachydermError
from pachyderm.local.interrupt import InterruptedByError, interruptible
from pachyderm.local.progress import show_progress
from pachyderm.local.runner import Options, run
from pachyderm.local.status import align, log_lines
from pachyderm.local.store.journal import SUCCESS, Job
from pachyderm.local.store.store import Store
from pachyderm.local.worker.mapping import LocalMapping
from pachyderm.spec.reading import fill_in, read_specs, spec_files
from runtime import command
from runtime.command import USAGE
from runtime.errors import InputError
from runtime.logs import printable
from runtime.manifest import Manifest
from runtime.squad import exact_match, f1

ROOT = Path("build/demo")
_ANSWERED = re.compile(r"answer: done .*?\brows=(\d+) .*?\bseconds=([\d.]+)")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = command.parser("demo", f"{summary} {' '.join(more.split())}", "A second run continues.")
    parser.prog = "python -m pachyderm.demo"
    parser.add_argument("--input", default="samples", help="folder of CSVs, or URL of a bucket")
    parser.add_argument("--model", type=command.location, default=Path("build/demo/model"), help="bundle")
    parser.add_argument("--root", type=command.location, default=ROOT, help="folder for everything it writes")
    return command.run("demo", demo, parser.parse_args(argv))


def demo(options: argparse.Namespace) -> int:
    """Runs the pipelines and prints the report. Returns the exit code."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.WARNING)
    try:
        with (
            interruptible() as stop,
            source(options.input) as (url, variables),
            embedded_postgres(options.root / "postgres") as database,
        ):
            jobs = run_pipelines(options.root, options.model, url, {**variables, "DATABASE_URL": database}, stop)
            with psycopg.connect(database) as connection:
                print("\n".join(["", *report(connection, options.root, speed(options.root, jobs))]))  # noqa: T201
            page = write_page(options.root, options.model, database)
            print("\n".join(["", *next_steps(options.root, page)]))  # noqa: T201
    except InterruptedByError as interrupt:
        logging.error("%s; run again to go on", interrupt)
        return interrupt.exit_code
    return command.DONE


@contextlib.contextmanager
def source(where: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """URL of the bucket to read, and the variables that lead there: a folder is served by an emulator."""
    if "://" in where:
        yield where, {}
        return
    if not Path(where).is_dir():
        raise PachydermError(f"{where}: no such folder; --input takes a folder of CSVs or the URL of a bucket")
    with emulated_bucket(Path(where)) as host:
        yield f"gs://{BUCKET}", {"STORAGE_EMULATOR_HOST": host}


def run_pipelines(state: Path, model: Path, url: str, variables: Mapping[str, str], stop: threading.Event) -> list[Job]:
    """Runs the shipped specs over what is new. Raises PachydermError if a job fails."""
    specs = {where: fill_in(spec, bucket=url) for where, spec in read_specs(spec_files([])).items()}
    mapping = LocalMapping(
        paths={"/model": model.absolute()},
        without=frozenset({BUCKET_SECRET, DATABASE_SECRET}),
        environment={"GOOGLE_APPLICATION_CREDENTIALS": None, **variables},
    )
    root = state.absolute()
    # As on a cluster, a new model alone makes no datum new.
    bundle, known = bundle_id(model), root / "bundle"
    is_new = not known.exists() or known.read_text() != bundle
    reprocess = frozenset({"question-answer"} if is_new else ())
    with show_progress() as watch:
        jobs = run(Options(root, specs, mapping, tick=True, reprocess=reprocess), stop, watch)
    for job in jobs:
        if job.state != SUCCESS:
            raise PachydermError(f"{job.pipeline}: {job.reason}; see answermill logs {job.pipeline} --root {state}")
    known.write_text(bundle)
    return jobs


def bundle_id(model: Path) -> str:
    """The bundle's name for itself. Raises PachydermError if there is no bundle."""
    try:
        return Manifest.from_json((model / "manifest.json").read_text("utf-8")).bundle_id
    except OSError as error:
        raise PachydermError(
            f"no bundle at {model}: make one with `answermill export MODEL --output {model}`"
        ) from error


def speed(root: Path, jobs: Sequence[Job]) -> str:
    """Rows per second of the datums that were answered now, as their logs say; a dash if nothing was."""
    for job in jobs:
        if job.pipeline == "question-answer":
            matches = [_ANSWERED.search(line) for line in log_lines(root, job.pipeline, job.number, None)]
            rows, seconds = (sum(float(match[group]) for match in matches if match) for group in (1, 2))
            if seconds:
                return f"{rows / seconds:.1f}"
    return "-"


def report(connection: psycopg.Connection, root: Path, rows_per_second: str) -> list[str]:
    """Lines of the report, read back from the database; the refused files from the notes in ingest's repo."""
    rows, files = _one(connection, "select count(*), count(distinct file) from question_answer")
    errors = connection.execute(
        "select error, count(*) from question_answer where error is not null group by 1 order by 1"
    ).fetchall()
    judged = connection.execute(
        "select answer, extra ->> 'expected' from question_answer where extra ->> 'expected' <> '' and error is null"
    ).fetchall()
    lines = [
        f"rows loaded    {rows:6}   from {files} files",
        f"rows refused   {sum(count for _, count in errors):6}   "
        + ", ".join(f"{error} ({count})" for error, count in errors),
        f"rows/s         {rows_per_second:>6}" + ("   nothing was new" if rows_per_second == "-" else ""),
    ]
    if judged:
        lines += [
            f"exact match    {_percent([exact_match(*pair) for pair in judged])}"
            f"   of {len(judged)} rows with `expected`",
            f"F1             {_percent([f1(*pair) for pair in judged])}",
        ]
    ingested = Store(root).repo("ingest").head()
    rejected = sorted(path for path in ingested.files if path.startswith("/rejected/"))
    notes = [json.loads(ingested.path_of(path).read_text("utf-8")) for path in rejected]
    lines += ["", f"files refused  {len(notes):6}"]
    for note in notes:
        error = InputError(note["reason"], remedy=note["remedy"], row=note["row"], column=note["column"])
        lines.append(printable(f"  {note['object']}: {error.place}{error.reason}"))
    return [*lines, "", *ten_answers(connection)]


def ten_answers(connection: psycopg.Connection) -> list[str]:
    """Ten rows from all over the table, as a table for people."""
    there = {column.name for column in connection.execute("select * from question_answer limit 0").description or []}
    columns = [name for name in ("question", "answer", "score", "confidence", "file", "row") if name in there]
    shown = sql.SQL(", ").join(
        sql.SQL("round({}::numeric, 2)").format(sql.Identifier(name))
        if name in ("score", "confidence")
        else sql.Identifier(name)
        for name in columns
    )
    query = sql.SQL(
        """
        select {}
        from (select *, row_number() over (order by file, row) - 1 as rank, count(*) over () as total
              from question_answer where error is null) as answers
        where rank % greatest(total / 10, 1) = 0 order by rank limit 10
        """
    )
    rows = [[_cell(value) for value in row] for row in connection.execute(query.format(shown))]
    lines = list(align([columns, *rows]))
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def write_page(root: Path, model: Path, database: str) -> Path | None:
    """Lets `answermill view` write the answers as a page, if this version has it."""
    page = root.absolute() / "answers.html"
    command = [sys.executable, "-m", "answermill", "view", "--database", "--model", str(model.absolute())]
    done = subprocess.run(
        [*command, "--output", str(page)],
        cwd=Path(str(resources.files("pachyderm"))).parent,
        env={**os.environ, "DATABASE_URL": database},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and page.exists():
        return page
    if done.returncode != USAGE:
        logging.warning("no page of the answers: %s", " ".join(done.stderr.split()) or f"exit code {done.returncode}")
    return None


def next_steps(root: Path, page: Path | None) -> list[str]:
    """Commands that show more of it, as they can be typed here: `make demo` activates no environment."""
    beside = Path(sys.executable).with_name("answermill")
    on_path = shutil.which("answermill") or not beside.exists()
    answermill = "answermill" if on_path else os.path.relpath(beside)
    elsewhere = "" if root == ROOT else f" --root {root}"
    answered = Store(root).repo("question-answer").folder
    steps = {
        f"{answermill} status{elsewhere}": "its jobs, and how their datums went",
        f"{answermill} logs question-answer{elsewhere}": "what the stages said",
        f"ls {answered}": "the rows, as CSVs, a folder per job",
    }
    if page:
        steps[str(root / page.name)] = "the rows, as a page for a browser"
    return list(align([["see also", ""], *steps.items()]))


def _cell(value: object, width: int = 46) -> str:
    text = "-" if value is None else printable(" ".join(str(value).split()))
    return text if len(text) <= width else text[: width - 1] + "…"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):5.1f}%"


def _one(connection: psycopg.Connection, query: LiteralString) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    return row or ()


if __name__ == "__main__":
    sys.exit(main())
