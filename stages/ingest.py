"""A bucket's CSVs -> a folder of CSVs that keep the rules the later stages rely on.

Every `*.csv` and `*.csv.gz` below URL is mirrored below OUTPUT: one file, or a folder of parts where it has more rows
than `--shard-rows`. A CSV that breaks a rule is named in `OUTPUT/rejected/`, with the reason, the row and a remedy; the
others go on. Nothing is changed or deleted at URL.
"""

import argparse
import contextlib
import fcntl
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime import command
from runtime.errors import AnswermillError, InputError
from stages.common.files import check_apart, whole_file
from stages.common.progress import Progress
from stages.ingesting.admission import Rules, admit, reject
from stages.ingesting.fetch import Fetched, fetched
from stages.ingesting.source import Tree, open_source

# What the last run wrote, so that the next can remove what is no longer at URL.
LISTING = ".ingested.json"
# Where objects and parts wait to be whole.
WAITING = ".ingest.partial"


@dataclass(slots=True)
class Tally:
    """What a run has done so far; `written` are paths below OUTPUT."""

    written: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    rejected: int = 0
    gone: int = 0


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("ingest", "Mirrors the CSVs below URL into OUTPUT and checks each.")
    parser.add_argument("input", metavar="URL", help="gs://bucket/prefix, any other fsspec URL, or a folder")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for the checked CSVs")
    parser.add_argument("--shard-rows", type=int, default=5000, help="most rows of a part")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--encoding", help="of the CSVs that are not UTF-8, say latin-1; default: refuse them")
    parser.add_argument("--concurrency", type=int, default=8, help="objects to fetch at a time")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without a byte, for gs://")
    options = parser.parse_args(argv)
    for name in ("shard_rows", "concurrency", "timeout"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")
    if options.question_column == options.context_column:
        parser.error("--question-column and --context-column must differ")
    if options.encoding is not None and not _is_encoding(options.encoding):
        parser.error(f"--encoding: Python knows no text encoding {options.encoding!r}; say latin-1, cp1252 or utf-16")
    return options


def ingest(options: argparse.Namespace) -> int:
    """Mirrors all objects. Returns the exit code; a rejected CSV is a result, not a failure."""
    rules = Rules((options.question_column, options.context_column), options.shard_rows, options.encoding)
    tally = Tally()
    source = open_source(options.input, options.timeout)
    if isinstance(source, Tree) and source.folder:
        check_apart(source.folder, options.output)
    objects = source.find()
    if not objects:
        logging.warning("%s: there is no CSV", options.input)
    with working_folder(options.output) as waiting:
        with Progress(sum(found.size for found in objects.values()), "files") as progress:
            for one in fetched(source, objects, waiting, options.concurrency, progress.advance):
                take(one, waiting / "parts", options.output, rules, tally)
                progress.advance(0, 1)
        forget_others(options.output, tally)
    figures = {
        "files": tally.files,
        "parts": len(tally.written) - tally.rejected,
        "rows": tally.rows,
        "rejected": tally.rejected,
        "gone": tally.gone,
        "seconds": round(progress.seconds, 2),
    }
    command.summarise("done", figures)
    return command.exit_code(tally.failed, len(objects))


def take(one: Fetched, waiting: Path, output: Path, rules: Rules, tally: Tally) -> None:
    """Puts one object through the gate, and into the tally."""
    if one.error is not None:
        logging.error("%s: %s", one.name, one.error)
        tally.failed.append(one.name)
    elif one.found is None:
        logging.warning("%s: deleted after it was listed; passed over", one.name)
        tally.gone += 1
    else:
        gzipped = one.found.gzipped or one.name.lower().endswith(".gz")
        try:
            admitted = admit(one.path, gzipped, one.name, waiting, output, rules)
        except InputError as error:
            tally.written.append(reject(output, one.name, error))
            tally.rejected += 1
            logging.warning("rejected %s: %s", one.name, error)
        else:
            tally.written += admitted.parts
            tally.rows += admitted.rows
            tally.files += 1


@contextlib.contextmanager
def working_folder(output: Path) -> Iterator[Path]:
    """A hidden folder below `output` that goes with the run, whether it ends or is killed and run again.

    Raises AnswermillError while another run writes to `output`.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waiting = output / WAITING
        shutil.rmtree(waiting, ignore_errors=True)
        waiting.mkdir()
        try:
            yield waiting
        finally:
            shutil.rmtree(waiting, ignore_errors=True)
    except BlockingIOError as error:
        raise AnswermillError(f"{output}: another run is writing it; wait for it, or choose another folder") from error
    finally:
        os.close(lock)


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


def forget_others(output: Path, tally: Tally) -> None:
    """Removes what an earlier run wrote below `output` and this one did not: objects that are gone, parts too many.

    Only files in that run's own listing are touched, so whatever else lives there stays; and nothing is removed after
    a run in which an object failed.
    """
    listing = output / LISTING
    try:
        earlier = set(json.loads(listing.read_text("utf-8")))
    except FileNotFoundError:
        earlier = set()
    written = set(tally.written)
    if tally.failed:
        written |= earlier
    for path in sorted(earlier - written, reverse=True):
        stale = output / path
        stale.unlink(missing_ok=True)
        for folder in stale.parents:
            if folder == output or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
    with whole_file(listing) as file:
        file.write(json.dumps(sorted(written), ensure_ascii=False, indent=0).encode() + b"\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("ingest", ingest, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
