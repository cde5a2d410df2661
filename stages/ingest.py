"""A bucket's tables -> a folder of CSVs that keep the rules the later stages rely on.

Every table below URL is mirrored below OUTPUT as CSV: one file, or several parts if it has more rows than
`--shard-rows`. A file that breaks a rule is named in `OUTPUT/rejected/`, with the reason, the row and a remedy; the
others go on. `OUTPUT/listing.json` says what was seen, and when. Nothing is changed or deleted at URL.
"""

import argparse
import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.errors import InputError
from runtime.logs import summarise
from runtime.quoting import safe_url
from stages.common.files import check_apart
from stages.common.mirror import Mirror, keeps_listing, open_mirror
from stages.common.names import FORMATS, is_table
from stages.common.progress import Progress
from stages.ingesting.limits import Limits, check_name

# What only work needs is imported there: `--help` is to answer at once.
if TYPE_CHECKING:
    from stages.ingesting.admission import Rules
    from stages.ingesting.fetch import FetchResult
    from stages.ingesting.output import IngestOutput
    from stages.ingesting.source import Listing, Source

# Where objects and parts wait to be whole.
WAITING = ".ingest.partial"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("ingest", "Writes the tables below URL to OUTPUT as checked CSVs.")
    parser.add_argument("input", metavar="URL", help="gs://bucket/prefix, any other fsspec URL, or a folder")
    parser.add_argument("output", type=command.location, metavar="OUTPUT", help="folder for the checked CSVs")
    parser.add_argument(
        "--shard-rows",
        type=int,
        default=5000,
        help="most rows that a part may have; longer files become several parts",
    )
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--formats", default=",".join(FORMATS), help="file formats to read")
    parser.add_argument(
        "--encoding",
        help="encoding of lines that are not UTF-8, such as cp1252, or auto to detect it; default: refuse the file",
    )
    parser.add_argument("--again", action="store_true", help="fetch unchanged objects too")
    parser.add_argument("--follow-links", action="store_true", help="follow links that lead out of a local folder")
    parser.add_argument("--user-project", metavar="PROJECT", help="project that pays for a requester-pays bucket")
    parser.add_argument("--concurrency", type=int, default=8, help="number of objects to fetch at the same time")
    parser.add_argument(
        "--timeout",
        type=command.seconds,
        default=60.0,
        help="seconds to wait for the next byte, for gs:// and http(s)://",
    )
    for limit in fields(Limits):
        parser.add_argument(limit.metadata["option"], type=int, default=limit.default, help=limit.metadata["help"])
    options = parser.parse_args(argv)
    if not options.input:
        parser.error("URL is empty; say . for this folder")
    limits = [limit.metadata["option"][2:].replace("-", "_") for limit in fields(Limits)]
    for name in ("shard_rows", "concurrency", "timeout", *limits):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")
    if options.question_column == options.context_column:
        parser.error("--question-column and --context-column must differ")
    if options.encoding not in (None, "auto") and not _is_encoding(options.encoding):
        parser.error(f"--encoding: Python knows no text encoding {options.encoding!r}; say cp1252, utf-16 or auto")
    options.formats = tuple(options.formats.split(","))
    if unknown := set(options.formats) - set(FORMATS):
        parser.error(f"--formats: {', '.join(sorted(unknown))!r} is none of {', '.join(FORMATS)}")
    return options


def rules_of(options: argparse.Namespace) -> "Rules":
    """What the options say that a table must hold, and how it is read."""
    from stages.ingesting.admission import Rules

    values = {limit.name: getattr(options, limit.metadata["option"][2:].replace("-", "_")) for limit in fields(Limits)}
    return Rules(
        required=(options.question_column, options.context_column),
        shard_rows=options.shard_rows,
        encoding=options.encoding,
        limits=Limits(**values),
    )


def ingest(options: argparse.Namespace) -> int:
    """Mirrors all objects. Returns the exit code; a rejected table is a result, not a failure."""
    from stages.ingesting.fetch import fetch_all
    from stages.ingesting.folder import FolderSource
    from stages.ingesting.places import open_source

    listed_at = datetime.now(UTC)
    source = open_source(options.input, options.timeout, options.follow_links, options.user_project)
    if isinstance(source, FolderSource):
        check_apart(source.root, options.output)
    listing = source.list(lambda name: is_table(name, options.formats))
    _warn_of_nothing(safe_url(options.input), listing)
    rules = rules_of(options)
    with _open_output(options.output, rules, listed_at) as output, working_folder(options.output) as waiting:
        if listing.objects:
            output.take_from(listed_source(options.input, source), listing.objects)
        changed = {
            name: item
            for name, item in listing.objects.items()
            if options.again or not output.keep_unchanged(name, item)
        }
        with Progress(sum(item.size for item in changed.values()), "files") as progress:
            results = fetch_all(source, changed, waiting, options.concurrency, progress.advance)
            for number, result in enumerate(results):
                take(result, waiting / f"table-{number}", output, rules)
                progress.advance(0, 1)
        output.close()
    summarise("done", {**output.counts.figures(), "seconds": round(progress.seconds, 2)})
    return command.exit_code(output.counts.failed, len(listing.objects))


def listed_source(url: str, source: "Source") -> str:
    """URL as the listing of OUTPUT has it: without secrets; of a folder the path."""
    from stages.ingesting.folder import FolderSource

    if isinstance(source, FolderSource):
        return str(source.root)
    return safe_url(url).rstrip("/")


def take(result: "FetchResult", stem: Path, output: "IngestOutput", rules: "Rules") -> None:
    """Admits one fetched object to the output, or rejects it."""
    from stages.ingesting.admission import admit

    name = result.name
    if result.error is not None and not isinstance(result.error, InputError):
        logging.error("%s: %s", name, result.error)
        output.fail(name)
    elif result.error is None and result.item is None:
        logging.warning("%s: skipped, because it was deleted after it was listed", name)
        output.counts.gone += 1
    else:
        try:
            if result.error is not None:
                raise result.error
            check_name(name, rules.limits)
            admission = admit(result.path, name, stem, rules)
        except InputError as error:
            logging.warning("rejected %s: %s", name, error)
            output.reject(name, result.item, error)
        else:
            if admission.remarks:
                logging.info("%s: %s", name, "; ".join(admission.remarks))
            output.admit(name, result.item, admission)


@contextlib.contextmanager
def _open_output(output: Path, rules: "Rules", listed_at: datetime) -> "Iterator[IngestOutput]":
    """The output of this run; in a datum, whose output starts empty, without a memory of earlier runs."""
    from stages.ingesting.output import IngestOutput

    with contextlib.ExitStack() as stack:
        mirror: Mirror | None = stack.enter_context(open_mirror(output, "ingest")) if keeps_listing() else None
        yield IngestOutput(output, mirror, rules.digest(), listed_at)


@contextlib.contextmanager
def working_folder(output: Path) -> Iterator[Path]:
    """A hidden folder below `output` that goes with the run, whether it ends or is killed and run again."""
    waiting = output / WAITING
    shutil.rmtree(waiting, ignore_errors=True)
    waiting.mkdir(parents=True)
    try:
        yield waiting
    finally:
        shutil.rmtree(waiting, ignore_errors=True)


def _warn_of_nothing(url: str, listing: "Listing") -> None:
    if not listing.objects:
        logging.warning(
            "%s: there is nothing to do: no CSV, Parquet or NDJSON file (--formats) among %d files", url, listing.others
        )


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("ingest", ingest, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
