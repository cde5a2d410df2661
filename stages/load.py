"""Answered CSVs -> a table in PostgreSQL, one transaction per file.

Each CSV is copied into a temporary table, then its earlier rows are deleted and the new ones inserted. Whatever
happens, and however often it is repeated, a file's rows are all old or all new. Then the file is passed on to OUTPUT
as a link. DATABASE_URL or the libpq variables (PGHOST, PGUSER, PGPASSWORD, …) say where the database is.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.errors import DatabaseError, InputError
from stages import answer as answering
from stages import command
from stages.files import csv_files, partial_name

if TYPE_CHECKING:
    import polars as pl
    import psycopg
    from psycopg import sql

# What the CSV holds under these names goes to columns of the same name; every other column goes to `extra`.
COLUMNS = {
    "question": "text",
    "answer": "text",
    "context": "text",
    "model": "text",
    "score": "double precision",
    "start": "int",
    "end": "int",
    "error": "text",
}
CREATE = """
    create table {table} (
        file text,
        row bigint,
        question text,
        answer text,
        context text,
        model text,
        score double precision,
        "start" int,
        "end" int,
        error text,
        extra jsonb,
        qa_timestamp timestamptz default now(),
        primary key (file, row)
    )
"""


@dataclass(frozen=True, slots=True)
class Target:
    """The table, and the CSV's names for the columns."""

    schema: str | None
    table: str
    names: dict[str, str]

    @property
    def identifier(self) -> "sql.Identifier":
        """The table as an SQL identifier, quoted as it must be."""
        from psycopg import sql

        return sql.Identifier(*filter(None, (self.schema, self.table)))


class Counts(NamedTuple):
    """Rows of one file: those inserted, and the earlier ones that they replaced."""

    inserted: int
    replaced: int


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
        "--prune",
        action="store_true",
        help="load nothing; delete the rows of files that are not below INPUT any more",
    )
    parser.add_argument("--dry-run", action="store_true", help="do all of it, then roll back")
    return parser.parse_args(argv)


def load(options: argparse.Namespace) -> int:
    """Loads or prunes. A file that breaks a rule, or that the server refuses, fails alone. Returns the exit code."""
    from stages.database import connect

    files = csv_files(options.input)
    names = {"question": options.question_column, "context": options.context_column}
    names |= {name: options.prefix + name for name in answering.COLUMNS}
    target = Target(options.schema, options.table, names)
    with connect("answermill load") as connection:
        ensure_table(connection, target)
        if options.prune:
            deleted = prune(connection, target, list(files), options.dry_run)
            command.summarise("pruned", {"files": len(files), "deleted": deleted})
            return command.DONE
        return load_files(connection, target, files, options)


def load_files(
    connection: "psycopg.Connection",
    target: Target,
    files: dict[str, Path],
    options: argparse.Namespace,
) -> int:
    """Loads each file and passes it on. Returns the exit code."""
    failed, began = [], time.monotonic()
    total = Counts(0, 0)
    for name, path in files.items():
        try:
            counts = load_file(connection, target, name, path, options.dry_run)
        except (InputError, DatabaseError) as error:
            logging.error("%s: %s", name, error)
            failed.append(name)
            continue
        total = Counts(total.inserted + counts.inserted, total.replaced + counts.replaced)
        if not options.dry_run:
            pass_on(path, options.output / name)
    figures = {
        "files": len(files) - len(failed),
        "inserted": total.inserted,
        "replaced": total.replaced,
        "seconds": round(time.monotonic() - began, 2),
        "dry_run": options.dry_run,
    }
    command.summarise("done", figures)
    return command.exit_code(failed, len(files))


def ensure_table(connection: "psycopg.Connection", target: Target) -> None:
    """Creates the table where it is absent; where it is there, the right to create one is not needed."""
    import psycopg
    from psycopg import sql

    from stages.database import one_line

    try:
        with connection.transaction():
            # Two loaders that both find no table must not both create one.
            connection.execute("select pg_advisory_xact_lock(hashtextextended('answermill table', 0))")
            name = target.identifier.as_string(connection)
            found = connection.execute("select to_regclass(%s)", [name]).fetchone()
            if found == (None,):
                connection.execute(sql.SQL(CREATE).format(table=target.identifier))
    except psycopg.Error as error:
        raise DatabaseError(f"table {target.table}: {one_line(error)}") from error


def load_file(connection: "psycopg.Connection", target: Target, name: str, path: Path, dry_run: bool) -> Counts:
    """Replaces the rows of one file in one transaction.

    Raises InputError for a CSV that breaks a rule, DatabaseError for what the server refuses.
    """
    import psycopg
    from psycopg import sql

    from stages.database import one_line

    columns = sql.SQL(", ").join(map(sql.Identifier, ("row", *COLUMNS, "extra")))
    types = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind))
        for column, kind in {"row": "bigint", **COLUMNS, "extra": "jsonb"}.items()
    )
    try:
        with connection.transaction(force_rollback=dry_run):
            # Two loaders of one file take turns; the second finds the rows of the first and replaces them.
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [name])
            connection.execute(sql.SQL("create temporary table incoming ({}) on commit drop").format(types))
            with connection.cursor().copy("copy incoming from stdin (format csv)") as copy:
                for block in rows_to_copy(path, target.names):
                    copy.write(block)
            deleted = connection.execute(sql.SQL("delete from {} where file = %s").format(target.identifier), [name])
            inserted = connection.execute(
                sql.SQL("insert into {} (file, {}) select %s, {} from incoming").format(
                    target.identifier, columns, columns
                ),
                [name],
            )
    except psycopg.Error as error:
        raise DatabaseError(one_line(error)) from error
    return Counts(inserted.rowcount, deleted.rowcount)


def rows_to_copy(path: Path, names: dict[str, str]) -> Iterator[bytes]:
    """The file's rows as CSV for COPY, a block at a time: row number, the known columns, the others as JSON."""
    from stages.tables import read_blocks

    row = 1
    for block in read_blocks(path, list(names.values())):
        table = for_copy(block, names, row)
        row += table.height
        yield table.write_csv(include_header=False, quote_style="necessary").encode()


def for_copy(block: "pl.DataFrame", names: dict[str, str], first_row: int) -> "pl.DataFrame":
    """The block's columns in the order of the temporary table."""
    import polars as pl

    others = [column for column in block.columns if column not in names.values()]
    extra = pl.struct(others).struct.json_encode() if others else pl.lit(None, pl.String)
    return block.select(
        pl.int_range(first_row, first_row + pl.len()).alias("row"),
        *(pl.col(names[column]).alias(f"known {column}") for column in COLUMNS),
        extra.alias("extra"),
    )


def prune(connection: "psycopg.Connection", target: Target, files: list[str], dry_run: bool) -> int:
    """Deletes the rows of every file that is not among `files`; rows without a file stay. Returns how many."""
    import psycopg
    from psycopg import sql

    from stages.database import one_line

    try:
        with connection.transaction(force_rollback=dry_run):
            return connection.execute(
                sql.SQL("delete from {} where not file = any(%s)").format(target.identifier), [files]
            ).rowcount
    except psycopg.Error as error:
        raise DatabaseError(one_line(error)) from error


def pass_on(source: Path, target: Path) -> None:
    """Puts a link to `source` at `target`; whatever was there is replaced in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    link = target.with_name(partial_name(target.name))
    link.unlink(missing_ok=True)
    link.symlink_to(source.absolute())
    link.replace(target)


if __name__ == "__main__":
    sys.exit(command.run("load", load, arguments()))
