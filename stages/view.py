"""Answers -> one HTML page that people can look at them with.

ANSWERS is what the answer stage wrote: a CSV, or a folder of CSVs. `--database` takes the table that the load stage
filled, where DATABASE_URL or the libpq variables say. The page needs no server and no network: it opens from a disk and
from a mail.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runtime import command
from runtime.errors import AnswermillError
from runtime.logs import summarise
from stages.common.files import whole_file
from stages.csvs.labels import add_names, check_labelled

if TYPE_CHECKING:
    from stages.csvs.answered import AnsweredRow
    from stages.viewing.reading import CsvRun
    from stages.viewing.survey import Judged
    from stages.viewing.worst import Worst

# Bytes of the page. A mail takes more; a browser reads this at once.
LIMIT = 2_950_000
# The page names so many of the files that cannot be read, with the reason.
NAMED = 50
ANSWERS_STYLES = ("shell.css", "answers.css")
ANSWERS_MODULES = ("dom.js", "text.js", "charts.js", "rows.js", "filters.js", "passage.js", "summary.js", "answers.js")


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What the command line says, in the order of its parser."""

    log_format: Literal["text", "json"]
    answers: Path | None
    output: Path
    against: Path | None
    model: Path | None
    rows: int
    question_column: str
    context_column: str
    prefix: str
    expected: str
    blank_is_no_answer: bool
    database: bool
    schema: str | None
    table: str
    retry_for: float


def arguments(argv: Sequence[str] | None = None) -> ViewOptions:
    """The command's options."""
    parser = command.parser("view", "Writes answers as one HTML page.")
    parser.add_argument(
        "answers", type=command.location, nargs="?", metavar="ANSWERS", help="an answered CSV, or a folder of them"
    )
    parser.add_argument("--output", type=command.location, required=True, metavar="FILE", help="HTML file to write")
    parser.add_argument(
        "--against", type=command.location, metavar="ANSWERS", help="another run over the same rows, to compare"
    )
    parser.add_argument(
        "--model", type=command.location, metavar="BUNDLE", help="bundle that gave the answers, to show its card"
    )
    parser.add_argument(
        "--rows", type=command.positive, default=2_000, help="largest number of rows in the page; it keeps the worst"
    )
    add_names(parser)
    parser.add_argument("--database", action="store_true", help="read the rows from the table instead of ANSWERS")
    parser.add_argument("--schema", help="schema of the table; default: the first in the search path")
    parser.add_argument("--table", default="question_answer", help="table that load filled")
    parser.add_argument(
        "--retry-for",
        type=command.seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the database server",
    )
    options = ViewOptions(**vars(parser.parse_args(argv)))
    if options.database == (options.answers is not None):
        parser.error("give ANSWERS or --database, and not both")
    return options


def view(options: ViewOptions) -> int:
    """Reads the rows and writes the page. Returns the exit code."""
    from stages.viewing.data import fit_rows
    from stages.viewing.shell import check_page, page

    check_page("--output", options.output)
    run, other = csv_runs(options)
    worst, data = answers_data(options, run, other)
    rows = worst.rows()

    def with_rows(columns: Mapping[str, Any]) -> bytes:
        shown = {**data, "rows": columns}
        return page(data["title"], "answers.html", ANSWERS_STYLES, ANSWERS_MODULES, shown).encode()

    data["rows"] = fit_rows(rows, LIMIT - len(with_rows({})), worst.plan)
    content = with_rows(data["rows"])
    with whole_file(options.output) as file:
        file.write(content)
    figures = {"rows": data["survey"]["rows"], "shown": len(data["rows"]["row"]), "bytes": len(content)}
    summarise("done", {**figures, "page": options.output})
    return command.exit_code([*run.failed, *other.failed], run.files + other.files)


def csv_runs(options: ViewOptions) -> "tuple[CsvRun, CsvRun]":
    """The run that the page is about, and the one to compare with; without files where there is none."""
    from stages.csvs.answered import Names, answered_files, files_of_both
    from stages.viewing.reading import CsvRun

    if options.answers and options.against:
        mine, others = files_of_both(options.answers, options.against)
    else:
        mine, others = (answered_files(source) if source else {} for source in (options.answers, options.against))
    columns = options.question_column, options.context_column, options.prefix
    names = Names.of(*columns, options.expected, options.blank_is_no_answer)
    return CsvRun(options.answers or Path(), mine, names), CsvRun(options.against or Path(), others, names)


def answers_data(options: ViewOptions, run: "CsvRun", other: "CsvRun") -> "tuple[Worst, dict[str, Any]]":
    """The worst rows, and all else that the page knows. Raises AnswermillError if there is no row."""
    from stages.viewing import survey
    from stages.viewing.reading import OtherRun
    from stages.viewing.worst import Worst

    before = OtherRun(other, options.expected)
    counts, worst, changes = survey.Survey(), Worst(options.rows), survey.Changes()
    for row in source_of(options, run):
        known = survey.judge_row(row, options.expected, before.glimpse_of(row))
        counts.add(known)
        worst.add(known)
        changes.add(known)
    if not counts.rows:
        raise AnswermillError(f"{options.answers or 'the table'}: no answered row; `answermill answer` writes them")
    check_labelled(options.expected, counts.expected, "row")
    before.finish()
    changes.only_there = before.only_there
    name = (options.answers.name or str(options.answers)) if options.answers else f"table {options.table}"
    name = survey.cut(name, survey.NAME)
    return worst, {
        "title": f"Answers: {name}",
        "name": name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "failed": (run.failures() + other.failures())[:NAMED],
        "failedFiles": len(run.failed) + len(other.failed),
        "survey": counts.as_data(),
        "before": before.counts.as_data() if options.against else None,
        "changes": changes.as_data() if options.against else None,
        "beforeName": str(options.against) if options.against else None,
        "bundle": bundle_of(options, worst.rows()),
    }


def source_of(options: ViewOptions, run: "CsvRun") -> "Iterator[AnsweredRow]":
    """The rows that the page is about."""
    if not options.database:
        return iter(run)
    from stages.viewing.table import read_table

    return read_table(options.schema, options.table, options.retry_for, run.names.kept)


def bundle_of(options: ViewOptions, rows: "Sequence[Judged]") -> dict[str, Any] | None:
    """The bundle, with the tokens that it saw of the rows in the page; None if none is named."""
    if options.model is None:
        return None
    from stages.viewing.bundle import bundle_data, token_counts

    tokens = token_counts(options.model, (row.row for row in rows if len(row.row.context) == row.length))
    return {**bundle_data(options.model), "tokens": sum(tokens), "tokenRows": len(tokens)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("view", view, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
