"""Answered CSVs -> a table in PostgreSQL; each file's rows are all old or all new.

Each CSV's earlier rows are deleted and the new ones copied in, in one transaction; small files share one. A file that
was loaded before, byte for byte, is stamped and left alone. Then the file is passed on to OUTPUT as a link. What the
table refuses is named in OUTPUT/rejected. DATABASE_URL or the libpq variables (PGHOST, PGUSER, PGPASSWORD, …) say where
the database is.
"""

import argparse
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

if TYPE_CHECKING:
    from stages.loading.connection import Session
    from stages.loading.ready import ReadyTarget
    from stages.loading.target import Target


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("load", "Copies answered CSVs into PostgreSQL.")
    parser.add_argument("input", type=command.location, metavar="INPUT", help="a folder of answered CSVs, or one")
    parser.add_argument("output", type=command.location, metavar="OUTPUT", help="folder for links to what was loaded")
    parser.add_argument("--schema", help="schema of the table; default: the first in the search path")
    parser.add_argument("--table", default="question_answer", help="table to load into; created if absent")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="the --prefix that `answer` was given")
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAME:TYPE,…",
        help="columns of the CSVs to load into columns of the table; all others go to `extra`",
    )
    parser.add_argument(
        "--migrate", action="store_true", help="add the columns and the index that an existing table lacks"
    )
    parser.add_argument(
        "--on-conflict",
        choices=("replace", "keep"),
        default="replace",
        help="what to do with a changed file that has rows in the table",
    )
    parser.add_argument(
        "--on-bad-row",
        choices=("file", "skip", "fail"),
        default="file",
        help="if the table refuses a row: keep the whole file as it was, or skip the row, with a note in "
        "OUTPUT/rejected; or fail",
    )
    parser.add_argument(
        "--plain-names",
        action="store_true",
        help="take the names of files as they are, because ingest did not write INPUT",
    )
    parser.add_argument("--dry-run", action="store_true", help="do everything, then roll it back")
    parser.add_argument(
        "--retry-for",
        type=command.seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait in total for temporary problems: a starting server, a restart, a deadlock",
    )
    parser.add_argument(
        batching.OPTION, action="store_true", help="ask a Pachyderm worker for one datum after the other"
    )
    parser.add_argument(
        "--pass-on-digests",
        action="store_true",
        help="for --prune: also put an empty file into OUTPUT/digests for each CSV, with its digest in the name",
    )
    pruning = parser.add_argument_group("pruning")
    pruning.add_argument(
        "--prune", action="store_true", help="load nothing; delete the rows of files that are no longer below INPUT"
    )
    pruning.add_argument(
        "--listing",
        type=command.location,
        metavar="FILE",
        help="ingest's listing.json, which proves what is gone from the bucket",
    )
    pruning.add_argument(
        "--clock-margin",
        type=command.seconds,
        default=0.0,
        metavar="SECONDS",
        help="largest difference between the clocks of ingest and the database",
    )
    pruning.add_argument(
        "--prune-all", action="store_true", help="let --prune delete the rows of more than half of the files, or of all"
    )
    options = parser.parse_args(argv)
    if options.prune and options.input.is_file():
        parser.error("--prune takes the folder of all remaining files; one file would mean that all others are gone")
    if options.pass_on_digests and options.on_conflict == "keep":
        parser.error("--pass-on-digests and --on-conflict keep exclude each other; leave one out")
    for name in ("listing", "clock_margin", "prune_all"):
        if getattr(options, name) and not options.prune:
            parser.error(f"--{name.replace('_', '-')} needs --prune")
    return options


def load(options: argparse.Namespace) -> int:
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
        failed = load_files(opened, ReadyTarget(opened, target, options), given, options)
    return command.exit_code(failed, len(given.files))


def prepare(options: argparse.Namespace) -> Callable[[], str]:
    """Opens the session once. Returns what loads the datum that lies in INPUT, and says what was wrong with it."""
    from stages.loading.connection import open_session
    from stages.loading.ready import ReadyTarget, is_altered

    if options.prune:
        raise AnswermillError("--prune looks at all files at once; it takes no --batch-datums")
    check_apart(options.input, options.output)
    opened = open_session("answermill load", options.retry_for)
    target = ReadyTarget(opened, target_of(options), options)

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


def target_of(options: argparse.Namespace) -> "Target":
    """The table that the options name. Raises OptionError."""
    from stages.loading.target import Target, check_names, parse_columns

    types = parse_columns(options.columns)
    names = {"question": options.question_column, "context": options.context_column}
    names |= {name: options.prefix + name for name in ANSWER_COLUMNS}
    target = Target(options.schema, options.table, names | {name: name for name in types}, types)
    check_names(target)
    return target


def load_files(opened: "Session", target: "ReadyTarget", given: Input, options: argparse.Namespace) -> list[str]:
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
        run = LoadRun(opened, target, options.output, mirror, options)
        failed = run.load(files)
        if mirror and not failed:
            mirror.settle(run.written | others(given, mirror.paths()))
    summarise("done", run.counts.figures(options.dry_run, files))
    return failed


@contextlib.contextmanager
def _listing(options: argparse.Namespace) -> Iterator[Mirror | None]:
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
