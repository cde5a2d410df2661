"""`make demo`: the whole way on one machine, from the CSVs in samples/ to answers in a PostgreSQL of its own.

Ends with what the database holds: rows, refusals, accuracy against the `expected` column, and ten answers.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import LiteralString, NoReturn, TextIO

import psycopg

from pachyderm.database import embedded_postgres
from runtime.squad import exact_match, f1

Figures = Mapping[str, object]


class StageError(Exception):
    """A stage ended with an error, which it has explained."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the three stages and prints the report. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pachyderm.demo", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--input", default="samples", help="folder or URL of CSVs")
    parser.add_argument("--model", type=Path, default=Path("build/demo/model"), help="bundle")
    parser.add_argument("--root", type=Path, default=Path("build/demo"), help="folder for everything it writes")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _terminate)
    root: Path = options.root
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"demo: another demo is running in {root}")
            return 1
        try:
            with embedded_postgres(root / "postgres") as database:
                speed = run_stages(options.input, options.model, root, database)
                with psycopg.connect(database) as connection:
                    _say("\n".join(["", *report(connection, root / "ingest" / "rejected", speed)]), sys.stdout)
        except StageError as error:
            _say(f"demo: {error}")
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


def run_stages(source: str, model: Path, root: Path, database: str) -> object:
    """Ingests, answers, loads, forgets what is gone. Returns the rows per second of the answers."""
    ingested, answered, loaded = (str(root / name) for name in ("ingest", "question-answer", "load"))
    run_stage("ingest", [source, ingested])
    figures = run_stage("answer", [ingested, answered, "--model", str(model)])
    run_stage("load", [answered, loaded], DATABASE_URL=database)
    run_stage("load", [answered, loaded, "--prune"], DATABASE_URL=database)
    return figures["rows_per_second"]


def run_stage(name: str, arguments: Sequence[str], **environment: str) -> Figures:
    """Runs a stage as a process and shows its log. Returns the figures of its last line; raises StageError."""
    command = [sys.executable, "-m", f"stages.{name}", *arguments, "--log-format", "json"]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    figures: Figures = {}
    with process:
        try:
            for line in process.stderr or ():
                figures = _show(name, line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise StageError(f"{name} failed with exit code {process.returncode}")
    return figures


def report(connection: psycopg.Connection, rejected: Path, speed: object) -> list[str]:
    """Lines of the report, read back from the database; the refused files from the notes of the ingest stage."""
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
        f"rows/s         {speed:>6}",
    ]
    if judged:
        lines += [
            f"exact match    {_percent([exact_match(*pair) for pair in judged])}"
            f"   of {len(judged)} rows with `expected`",
            f"F1             {_percent([f1(*pair) for pair in judged])}",
        ]
    notes = [json.loads(path.read_text("utf-8")) for path in sorted(rejected.rglob("*.json"))]
    lines += ["", f"files refused  {len(notes):6}"]
    for note in notes:
        lines.append(f"  {note['object']}: {place(note)}{note['reason']}")
    return [*lines, "", *ten_answers(connection)]


def place(note: Figures) -> str:
    """Where in its file a rejected CSV breaks a rule: `row 3: `, `header, column "context": `, or nothing."""
    parts = [] if note["row"] is None else [f"row {note['row']}" if note["row"] else "header"]
    parts += [f'column "{note["column"]}"'] if note["column"] else []
    return f"{', '.join(parts)}: " if parts else ""


def ten_answers(connection: psycopg.Connection) -> list[str]:
    """Ten rows from all over the table, as a table for people."""
    found = connection.execute(
        """
        select question, answer, round(score::numeric, 2), file
        from (select *, row_number() over (order by file, row) - 1 as rank, count(*) over () as total
              from question_answer where error is null) as answers
        where rank % greatest(total / 10, 1) = 0 order by rank limit 10
        """
    ).fetchall()
    table = [("question", "answer", "score", "file"), *((_cell(c) for c in row) for row in found)]
    rows = [tuple(row) for row in table]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _cell(value: object, width: int = 46) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):5.1f}%"


def _one(connection: psycopg.Connection, query: LiteralString) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    return row or ()


def _show(stage: str, line: str) -> Figures:
    """Prints a stage's JSON log line as text; returns its figures."""
    try:
        entry = json.loads(line)
    except ValueError:
        _say(line.rstrip())
        return {}
    figures = {key: entry[key] for key in entry if key not in ("time", "level", "stage", "event")}
    text = " ".join(f"{key}={value}" for key, value in figures.items())
    _say(f"{stage:<7} {entry['event']} {text}".rstrip())
    return figures


def _say(text: str, stream: TextIO = sys.stderr) -> None:
    print(text, file=stream, flush=True)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
