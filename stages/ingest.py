"""A bucket's tables -> a folder of CSVs that keep the rules the later stages rely on.

Every table below URL is mirrored below OUTPUT as CSV: one file, or several parts if it has more rows than
`--shard-rows`. A file that breaks a rule is named in `OUTPUT/rejected/`, with the reason, the row and a remedy; the
others go on. `OUTPUT/listing.json` says what was seen, and when. Nothing is changed or deleted at URL.
"""

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.errors import InputError
from runtime.logs import summarise
from runtime.quoting import safe_url
from stages.common.files import check_apart
from stages.common.mirror import Mirror, keeps_listing, open_mirror
from stages.common.names import is_table
from stages.common.progress import Progress
from stages.ingesting.limits import check_name
from stages.ingesting.options import IngestOptions, arguments

# What only work needs is imported there: `--help` is to answer at once.
if TYPE_CHECKING:
    from stages.ingesting.admission import Rules
    from stages.ingesting.fetch import FetchResult
    from stages.ingesting.output import IngestOutput
    from stages.ingesting.source import Listing, Source

# Where objects and parts wait to be whole.
WAITING = ".ingest.partial"


def rules_of(options: IngestOptions) -> "Rules":
    """What the options say that a table must hold, and how it is read."""
    from stages.ingesting.admission import Rules

    return Rules(
        required=(options.question_column, options.context_column),
        shard_rows=options.shard_rows,
        encoding=options.encoding,
        limits=options.limits,
    )


def ingest(options: IngestOptions) -> int:
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


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("ingest", ingest, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
