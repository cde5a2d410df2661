"""One CSV -> parts below OUTPUT that keep the rules, or a note that says which rule it breaks."""

import json
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from runtime.errors import InputError
from stages.common.files import whole_file
from stages.common.names import part_path, rejection_path
from stages.csvs.records import Records
from stages.ingesting.encodings import open_plain


@dataclass(frozen=True, slots=True)
class Rules:
    """What a CSV must hold, how it is read, and where it is cut.

    Attributes:
        required: columns that it must have.
        shard_rows: most rows of a part.
        encoding: how a CSV is read that is not UTF-8; None to refuse it.

    """

    required: tuple[str, str]
    shard_rows: int
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """Paths below OUTPUT of a CSV's parts, and its rows."""

    parts: tuple[str, ...]
    rows: int


def admit(path: Path, gzipped: bool, name: str, waiting: Path, output: Path, rules: Rules) -> Admitted:
    """Copies a CSV that keeps the rules, in parts if it is long. Raises InputError for one that does not.

    The parts wait in the folder `waiting` until the last row has been checked, so none of a broken file is ever seen.
    """
    shutil.rmtree(waiting, ignore_errors=True)
    waiting.mkdir()
    rows = cut(path, gzipped, waiting, rules)
    found = sorted(waiting.iterdir())
    parts = [part_path(name, 1 + index * rules.shard_rows) for index in range(len(found))]
    for part, place in zip(found, parts, strict=True):
        (output / place).parent.mkdir(parents=True, exist_ok=True)
        part.replace(output / place)
    return Admitted(tuple(parts), rows)


def cut(path: Path, gzipped: bool, folder: Path, rules: Rules) -> int:
    """Writes parts of at most `shard_rows` rows, each with the header, rows byte for byte. Returns the rows.

    At least one part, so that a header without rows stays a file.
    """
    with open_plain(path, gzipped, rules.encoding) as stream:
        records = Records(stream, rules.required)
        rows = iter(records)
        row = next(rows, None)
        index = 0
        while row is not None or index == 0:
            with whole_file(folder / f"{index:08d}") as part:
                part.write(records.header_bytes)
                if row is not None:
                    part.write(row)
                    # One by one: a part of 5,000 long contexts is more than memory should hold.
                    part.writelines(islice(rows, rules.shard_rows - 1))
            row = next(rows, None)
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
        # A local name that is not UTF-8 holds lone surrogates.
        file.write(json.dumps(note, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n")
    return path
