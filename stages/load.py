"""Answered CSVs -> a table in PostgreSQL, one transaction per file.

Each CSV's earlier rows are deleted and the new ones copied in. Whatever happens, and however often it is repeated, a
file's rows are all old or all new. A file that was loaded before, byte for byte, is left alone. Then the file is passed
on to OUTPUT as a link. DATABASE_URL or the libpq variables (PGHOST, PGUSER, PGPASSWORD, …) say where the database is.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.errors import InputError
from stages import answer as answering
from stages.common.files import csv_files, partial_name

if TYPE_CHECKING:
    import psycopg

    from stages.loading.connection import Session
    from stages.loading.copying import Counts
    from stages.loading.schema import Target


@dataclass(slots=True)
class Tally:
    """What a run has done so far; rows, except for files and unchanged files."""

    files: int = 0
    unchanged: int = 0
    rows: int = 0
    inserted: int = 0
    replaced: int = 0
    deleted: int = 0
    size: int = 0

    def add(self, counts: "Counts", size: int) -> None:
        """Counts one file of `size` bytes. Of its rows, those are replaced whose place another row had."""
        self.files += 1
        self.rows += counts.rows
        self.size += size
        if counts.unchanged:
            self.unchanged += 1
            return
        replaced = min(counts.rows, counts.before)
        self.replaced += replaced
        self.inserted += counts.rows - replaced
        self.deleted += counts.before - replaced


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("load", "Copies answered CSVs into PostgreSQL.")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a folder of answered CSVs, or one")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for links to what was loaded")
    parser.add_argument("--schema", help="schema of the table; default: the search path's first")
    parser.add_argument("--table", default="question_answer", help="table, created if absent")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="as given to the answer stage")
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAME:TYPE,…",
        help="columns of the CSVs that are columns of the table too; all others go to `extra`",
    )
    parser.add_argument("--migrate", action="store_true", help="add what an existing table lacks")
    parser.add_argument(
        "--on-conflict",
        choices=("replace", "keep"),
        default="replace",
        help="what to do with a changed file that has rows in the table",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="load nothing; delete the rows of files that are not below INPUT any more",
    )
    parser.add_argument("--dry-run", action="store_true", help="do all of it, then roll back")
    parser.add_argument(
        "--retry-for",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait, in all, for what may pass: no server yet, a restart, a deadlock",
    )
    return parser.parse_args(argv)


def load(options: argparse.Namespace) -> int:
    """Loads or prunes. A file that breaks a rule or does not fit the table fails alone. Returns the exit code."""
    from stages.loading.connection import session

    target = target_of(options)
    files = csv_files(options.input)
    with session("answermill load", options.retry_for) as opened:
        if options.prune:
            return prune(opened, target, list(files), options)
        return load_files(opened, target, files, options)


def target_of(options: argparse.Namespace) -> "Target":
    """The table that the options name. Raises OptionError."""
    from stages.loading.schema import Target, parse_columns

    types = parse_columns(options.columns)
    names = {"question": options.question_column, "context": options.context_column}
    # A confidence goes to `extra`: CSVs that were answered before there was one have no such column.
    names |= {name: options.prefix + name for name in answering.COLUMNS if name != "confidence"}
    return Target(options.schema, options.table, names | {name: name for name in types}, types)


def load_files(
    opened: "Session",
    target: "Target",
    files: dict[str, Path],
    options: argparse.Namespace,
) -> int:
    """Loads each file and passes it on. Returns the exit code."""
    from stages.loading.copying import replace_rows
    from stages.loading.schema import prepare

    remember = False

    def ready(connection: "psycopg.Connection") -> bool:
        with connection.transaction():
            return prepare(connection, target, options.migrate)

    def replace(connection: "psycopg.Connection", name: str, path: Path) -> "Counts":
        with connection.transaction(force_rollback=options.dry_run):
            # A dry run leaves no table behind either.
            use_memory = prepare(connection, target, options.migrate) if options.dry_run else remember
            return replace_rows(connection, target, name, path, use_memory, options.on_conflict == "keep")

    if not options.dry_run:
        remember = opened.run(ready)
        if not remember:
            logging.info("no table to remember files in, and no right to make one: every file is loaded again")
    tally, failed, began = Tally(), [], time.monotonic()
    for name, path in files.items():
        try:
            counts = opened.run(partial(replace, name=name, path=path))
        except InputError as error:
            logging.error("%s: %s", name, error)
            failed.append(name)
            continue
        tally.add(counts, path.stat().st_size)
        if not options.dry_run:
            pass_on(path, options.output / name)
    summarise(tally, time.monotonic() - began, options.dry_run)
    return command.exit_code(failed, len(files))


def summarise(tally: Tally, seconds: float, dry_run: bool) -> None:
    """The line that ends a run. Of files, those that failed are not counted; MB/s are those of the CSVs."""
    figures = {
        "files": tally.files,
        "unchanged": tally.unchanged,
        "rows": tally.rows,
        "inserted": tally.inserted,
        "replaced": tally.replaced,
        "deleted": tally.deleted,
        "seconds": round(seconds, 2),
        "megabytes_per_second": round(tally.size / 1e6 / seconds, 1) if seconds else 0.0,
        "dry_run": dry_run,
    }
    command.summarise("done", figures)


def prune(opened: "Session", target: "Target", files: list[str], options: argparse.Namespace) -> int:
    """Deletes the rows of files that are gone. Returns the exit code."""
    from stages.loading import copying
    from stages.loading.schema import prepare

    def delete(connection: "psycopg.Connection") -> int:
        with connection.transaction(force_rollback=options.dry_run):
            remember = prepare(connection, target, options.migrate)
            return copying.prune(connection, target, files, remember)

    deleted = opened.run(delete)
    command.summarise("pruned", {"files": len(files), "deleted": deleted, "dry_run": options.dry_run})
    return command.DONE


def pass_on(source: Path, target: Path) -> None:
    """Puts a link to `source` at `target`; whatever was there is replaced in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    link = target.with_name(partial_name(target.name))
    link.unlink(missing_ok=True)
    link.symlink_to(source.absolute())
    link.replace(target)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("load", load, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
