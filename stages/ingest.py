"""A bucket's CSVs -> a folder of CSVs that keep the rules the later stages rely on.

Every `*.csv` below URL is mirrored below OUTPUT: one file, or a folder of parts where it has more rows than
`--shard-rows`. A CSV that breaks a rule is named in `OUTPUT/rejected/`, with the reason, the row and a remedy; the
others go on. Nothing is changed or deleted at URL.
"""

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from runtime.errors import AnswermillError, InputError
from stages import command
from stages.files import partial_name, whole_file
from stages.names import part_path, rejection_path, target_path
from stages.records import Records

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What the last run wrote, so that the next can remove what is no longer at URL.
LISTING = ".ingested.json"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a CSV must hold, and where it is cut."""

    required: tuple[str, str]
    shard_rows: int


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("ingest", "Mirrors the CSVs below URL into OUTPUT and checks each.")
    parser.add_argument("input", metavar="URL", help="gs://bucket/prefix, any other fsspec URL, or a folder")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for the checked CSVs")
    parser.add_argument("--shard-rows", type=int, default=5000, help="most rows of a part")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    options = parser.parse_args(argv)
    if options.shard_rows < 1:
        parser.error("--shard-rows must be at least 1")
    return options


def ingest(options: argparse.Namespace) -> int:
    """Mirrors all objects. Returns the exit code; a rejected CSV is a result, not a failure."""
    system, objects = find_objects(options.input)
    rules = Rules((options.question_column, options.context_column), options.shard_rows)
    written: list[str] = []
    rows = rejected = 0
    for name, place in objects.items():
        with system.open(place, "rb") as stream:
            try:
                parts, count = admit(stream, options.output, name, rules)
            except InputError as error:
                parts, count = [reject(options.output, name, error)], 0
                rejected += 1
                logging.warning("rejected %s: %s", name, error)
        written += parts
        rows += count
    forget_others(options.output, written)
    figures = {
        "files": len(objects) - rejected,
        "parts": len(written) - rejected,
        "rows": rows,
        "rejected": rejected,
    }
    command.summarise("done", figures)
    return command.DONE


def find_objects(url: str) -> tuple["AbstractFileSystem", dict[str, str]]:
    """The file system of a URL, and where every CSV below it is, by name relative to it, in bytewise order.

    Raises AnswermillError where the URL's protocol is unknown or there is nothing at it.
    """
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise AnswermillError(f"{url}: {error}") from error
    if system.isfile(root):
        return system, {root.rsplit("/", 1)[-1]: root}
    if not system.isdir(root):
        raise AnswermillError(f"{url}: no such file or folder")
    prefix = root.rstrip("/") + "/"
    places = sorted(place for place in system.find(root) if place.lower().endswith(".csv"))
    return system, {place.removeprefix(prefix): place for place in places}


def admit(stream: BinaryIO, output: Path, name: str, rules: Rules) -> tuple[list[str], int]:
    """Copies a CSV that keeps the rules, in parts if it is long. Returns the parts' paths and the rows.

    The parts wait in a hidden folder until the last row has been checked, so none of a broken file is ever seen.
    """
    waiting = output / partial_name(name)
    shutil.rmtree(waiting, ignore_errors=True)
    waiting.mkdir(parents=True)
    try:
        rows = cut(stream, waiting, rules)
        found = sorted(waiting.iterdir())
        parts = [part_path(name, index) for index in range(len(found))]
        if len(parts) == 1:
            parts = [target_path(name)]
        for part, path in zip(found, parts, strict=True):
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            part.replace(output / path)
    finally:
        shutil.rmtree(waiting)
    return parts, rows


def cut(stream: BinaryIO, folder: Path, rules: Rules) -> int:
    """Writes parts of at most `shard_rows` rows, each with the header, rows byte for byte. Returns the rows.

    At least one part, so that a header without rows stays a file.
    """
    records = Records(stream, rules.required)
    rows = iter(records)
    index, more = 0, True
    while more:
        block = list(islice(rows, rules.shard_rows))
        more = len(block) == rules.shard_rows
        if block or index == 0:
            with whole_file(folder / f"{index:08d}") as part:
                part.write(records.header_bytes)
                part.writelines(block)
            index += 1
    return records.row - 1


def reject(output: Path, name: str, error: InputError) -> str:
    """Writes down why a CSV was refused. Returns the note's path."""
    note = {
        "object": name,
        "row": error.row,
        "column": error.column,
        "reason": error.reason,
        "remedy": error.remedy,
    }
    path = rejection_path(name)
    with whole_file(output / path) as file:
        file.write(json.dumps(note, ensure_ascii=False, indent=2).encode() + b"\n")
    return path


def forget_others(output: Path, written: Sequence[str]) -> None:
    """Removes what an earlier run wrote below `output` and this one did not: objects that are gone, parts too many.

    Only files in that run's own listing are touched, so whatever else lives there stays.
    """
    listing = output / LISTING
    try:
        earlier = json.loads(listing.read_text("utf-8"))
    except FileNotFoundError:
        earlier = []
    for path in sorted(set(earlier) - set(written), reverse=True):
        stale = output / path
        stale.unlink(missing_ok=True)
        for folder in stale.parents:
            if folder == output or any(folder.iterdir()):
                break
            folder.rmdir()
    with whole_file(listing) as file:
        file.write(json.dumps(sorted(written), ensure_ascii=False, indent=0).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(command.run("ingest", ingest, arguments()))
