"""NDJSON -> CSV: Python's json names the line that is broken, and leaves numbers as they are written."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from runtime.errors import InputError
from stages.csvs.records import LONGEST
from stages.ingesting.limits import Limits


def write_ndjson_as_csv(open_lines: Callable[[], BinaryIO], target: Path, limits: Limits) -> None:
    """Writes the objects as rows; the columns are all their keys, in the order of their first appearance.

    Text stands as it is, other values as JSON has them, null and what is not there as a missing field. Raises
    InputError at the first line that is no JSON object.
    """
    columns: dict[str, None] = {}
    for item in _objects(open_lines, limits):
        columns |= dict.fromkeys(item)
        if len(columns) > limits.columns:
            raise InputError(
                f"more than {limits.columns} different keys",
                remedy="leave some out, or allow more with --max-columns",
            )
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(columns)
        for item in _objects(open_lines, limits):
            file.write(",".join(_field(item.get(name)) for name in columns) + "\n")


def _objects(open_lines: Callable[[], BinaryIO], limits: Limits) -> Iterator[dict[str, Any]]:
    row = blank = 0
    with open_lines() as stream:
        while line := stream.readline(LONGEST):
            line = line.removeprefix(b"\xef\xbb\xbf") if not row else line
            if not line.strip():
                blank += 1
                if blank > limits.blank_lines:
                    raise InputError("too many blank lines", remedy="remove them, or allow more with --max-blank-lines")
                continue
            row += 1
            yield _object(line, row)


def _object(line: bytes, row: int) -> dict[str, Any]:
    try:
        # Numbers keep the digits that they are written with.
        item = json.loads(line, parse_int=_Number, parse_float=_Number)
        if not isinstance(item, dict):
            raise InputError("not a JSON object", row=row, remedy='write a line {"question": …, "context": …} a row')
        json.dumps(item, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"not JSON: {' '.join(str(error).split())}", row=row, remedy="write one JSON object on each line, in UTF-8"
        ) from error
    return item


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _field(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else _json(value)
    return '"' + text.replace('"', '""') + '"' if not text or any(char in text for char in ',"\r\n') else text


def _json(value: object) -> str:
    """The value as JSON, with numbers as they were written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
