"""Answered CSVs -> a table in PostgreSQL; each file's rows are all old or all new.

Each CSV's earlier rows are deleted and the new ones copied in, in one transaction; small files share one. A file that
was loaded before, byte for byte, is stamped and left alone. Then the file is passed on to OUTPUT as a link. What the
table refuses is named in OUTPUT/rejected. DATABASE_URL or the libpq variables (PGHOST, PGUSER, PGPASSWORD, …) say where
the database is.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from runtime import command
from runtime.errors import AnswermillError, DatabaseError
from runtime.logs import summarise
from stages.common import batching
from stages.common.files import check_apart
from stages.common.inputs import Input, read_input, whole_input
from stages.common.mirror import Mirror, foreign_files, keeps_listing, open_mirror
from stages.csvs.columns import ANSWER_COLUMNS
from stages.loading.options import LoadOptions, arguments

if TYPE_CHECKING:
    from stages.loading.connection import Session
    from stages.loading.ready import ReadyTarget
    from stages.loading.target import Target


def load(options: LoadOptions) -> int:
    """Loads or prunes. A file that breaks a rule or does not fit the table fails alone. Returns the exit code."""
    from stages.loading.connection import session
    from stages.loading.ready import ReadyTarget

    check_apart(options.input, options.output)
    target = target_of(options)
    if options.prune:
        from stages.loading.pruning import prune

        with session("answermill load", options.retry_for) as opened:
            return prune(opened, target, options)
    # Before a connection is made.
    given = read_input(options.input, options.output, options.plain_names)
    with session("answermill load", options.retry_for) as opened:
        ready = ReadyTarget(opened, target, migrate=options.migrate, dry_run=options.dry_run)
        failed = load_files(opened, ready, given, options)
    return command.exit_code(failed, len(given.files))


def prepare(options: LoadOptions) -> Callable[[], str]:
    """Opens the session once. Returns what loads the datum that lies in INPUT, and says what was wrong with it."""
    from stages.loading.connection import open_session
    from stages.loading.ready import ReadyTarget, is_altered

    if options.prune:
        raise AnswermillError("--prune looks at all files at once; it takes no --batch-datums")
    check_apart(options.input, options.output)
    opened = open_session("answermill load", options.retry_for)
    target = ReadyTarget(opened, target_of(options), migrate=options.migrate, dry_run=options.dry_run)

    def process() -> str:
        given, was_ready = whole_input(options.input), target.is_ready()
        try:
            failed = load_files(opened, target, given, options)
        except DatabaseError as error:
            target.forget()
            if not (was_ready and is_altered(error)):
                raise
            failed = load_files(opened, target, given, options)
        return f"failed: {', '.join(failed)}" if failed else ""

    return process


def target_of(options: LoadOptions) -> "Target":
    """The table that the options name. Raises OptionError."""
    from stages.loading.target import Target, check_names, parse_columns

    types = parse_columns(options.columns)
    names = {"question": options.question_column, "context": options.context_column}
    names |= {name: options.prefix + name for name in ANSWER_COLUMNS}
    target = Target(options.schema, options.table, names | {name: name for name in types}, types)
    check_names(target)
    return target


def load_files(opened: "Session", target: "ReadyTarget", given: Input, options: LoadOptions) -> list[str]:
    """Loads files and passes them on. Returns the names of those that failed."""
    from stages.loading.digests import digests_in
    from stages.loading.files import foreign_of, others
    from stages.loading.run import LoadRun

    files = given.files
    if not files:
        logging.warning("%s: it contains no CSV; load takes what the answer stage wrote", options.input)
    with _listing(options) as mirror:
        if foreign := foreign_of(options.output, files):
            raise foreign_files(options.output, foreign)
        if mirror and given.subpath is not None and files:
            mirror.take_from(given.folder, {*files, *others(given, mirror.paths()), *digests_in(mirror.paths())})
        run = LoadRun(opened, target, mirror, options)
        failed = run.load(files)
        if mirror and not failed:
            keep = run.written | others(given, mirror.paths())
            # Somebody has put a file of his own in the place of a link.
            gone = [path for path in mirror.paths() if path.endswith(".csv") and path not in keep]
            mirror.settle(keep.union(foreign_of(options.output, gone)))
    summarise("done", run.counts.figures(options.dry_run, files))
    return failed


@contextlib.contextmanager
def _listing(options: LoadOptions) -> Iterator[Mirror | None]:
    if options.dry_run or options.batch_datums or not keeps_listing():
        yield None
        return
    with open_mirror(options.output, "load") as mirror:
        yield mirror


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if batching.is_wanted(argv):
        return batching.serve("load", argv, arguments, prepare)
    return command.run("load", load, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
