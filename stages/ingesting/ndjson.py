"""NDJSON -> CSV: Python's json names the line that is broken, and leaves numbers as they are written."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from stages.csvs.records import LONGEST
from stages.ingesting.encodings import decode_utf8
from stages.ingesting.limits import Limits
from stages.ingesting.texts import Text

# Levels of lists and objects; at some 500, writing them as text ended the run for all files.
_DEEPEST = 200
_ROW = 'write a line {"question": …, "context": …} a row'


def write_ndjson_as_csv(text: Text, target: Path, limits: Limits) -> None:
    """Writes the objects as rows; the columns are all their keys, in the order of their first appearance.

    Text stands as it is, other values as JSON has them, null and what is not there as a missing field. Raises
    InputError at the first line that is no JSON object.
    """
    columns: dict[str, None] = {}
    for item in _objects(text, limits):
        columns |= dict.fromkeys(item)
        if len(columns) > limits.columns:
            raise InputError(
                f"more than {limits.columns} different keys",
                remedy="leave some out, or allow more with --max-columns",
            )
    if not columns:
        raise InputError("no object with a key in it", remedy=_ROW)
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(columns)
        for item in _objects(text, limits):
            file.write(",".join(_field(item.get(name)) for name in columns) + "\n")


def _objects(text: Text, limits: Limits) -> Iterator[dict[str, Any]]:
    text.forget()
    row = blank = 0
    for line, offset in _lines(text):
        # Ctrl-Z is how DOS ends a file.
        if not line.strip(b"\x1a \t\r\n"):
            blank += 1
            if blank > limits.blank_lines:
                raise InputError("too many blank lines", remedy="remove them, or allow more with --max-blank-lines")
            continue
        row += 1
        try:
            decoded = line.decode()
        except UnicodeDecodeError:
            decoded = (text.decoder or decode_utf8)(line, offset, row)
        yield _object(decoded.rstrip("\x1a"), row)


def _lines(text: Text) -> Iterator[tuple[bytes, int]]:
    """Lines and where each begins. JSON has no carriage return within text, so each ends a line, as on a Macintosh."""
    offset = 0
    with text.open() as stream:
        while block := stream.readline(LONGEST):
            line = block.removesuffix(b"\n").removesuffix(b"\r")
            if not offset:
                line = line.removeprefix(b"\xef\xbb\xbf")
            for piece in line.split(b"\r"):
                yield piece, offset
            offset += len(block)


def _object(line: str, row: int) -> dict[str, Any]:
    try:
        # Numbers keep the digits that they are written with.
        item = json.loads(
            line, parse_int=_Number, parse_float=_Number, object_pairs_hook=lambda pairs: _unique(pairs, row)
        )
    except RecursionError as error:
        raise _depth_error(row) from error
    except ValueError as error:
        raise InputError(
            f"not JSON: {' '.join(str(error).split())}", row=row, remedy="write one JSON object on each line"
        ) from error
    if not isinstance(item, dict):
        raise InputError("not a JSON object", row=row, remedy=_ROW)
    if line.count("[") + line.count("{") > _DEEPEST and _is_deep(item):
        raise _depth_error(row)
    try:
        json.dumps(item, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"half a character, \\u{ord(error.object[error.start]):04x}", row=row, remedy="write the whole character"
        ) from error
    return item


def _is_deep(item: object) -> bool:
    """Whether it is nested deeper than Python's own functions call themselves."""
    level = [item]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


def _depth_error(row: int) -> InputError:
    return InputError(f"lists or objects nested deeper than {_DEEPEST}", row=row, remedy="write the innermost as text")


def _unique(pairs: list[tuple[str, Any]], row: int) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise InputError("an object has this key twice", row=row, column=name, remedy="give each key a name of its own")
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
