"""The options of `load`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime import command
from stages.common import batching


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the command line says, in the order of its parser."""

    log_format: Literal["text", "json"]
    input: Path
    output: Path
    schema: str | None
    table: str
    question_column: str
    context_column: str
    prefix: str
    columns: str
    migrate: bool
    on_conflict: Literal["replace", "keep"]
    on_bad_row: Literal["file", "skip", "fail"]
    plain_names: bool
    dry_run: bool
    retry_for: float
    batch_datums: bool
    pass_on_digests: bool
    prune: bool
    listing: Path | None
    clock_margin: float
    prune_all: bool


def arguments(argv: Sequence[str] | None = None) -> LoadOptions:
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
    options = LoadOptions(**vars(parser.parse_args(argv)))
    if options.prune and options.input.is_file():
        parser.error("--prune takes the folder of all remaining files; one file would mean that all others are gone")
    if options.pass_on_digests and options.on_conflict == "keep":
        parser.error("--pass-on-digests and --on-conflict keep exclude each other; leave one out")
    of_pruning = {"listing": options.listing, "clock-margin": options.clock_margin, "prune-all": options.prune_all}
    for name, value in of_pruning.items():
        if value and not options.prune:
            parser.error(f"--{name} needs --prune")
    return options
