"""Reads the rows that a bundle is judged by: questions, contexts and, if the file has them, expected answers."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.blanks import BLANK
from runtime.errors import ExportError, InputError
from runtime.labelled import read_labelled

# Of a surrogate pair, which JSON can hold and no tokenizer takes.
_HALF = re.compile("[\ud800-\udfff]")
_WHAT = "--evaluate takes a CSV with the columns question and context, a folder of such CSVs, or a SQuAD JSON"


@dataclass(frozen=True, slots=True)
class Row:
    """One question; `expected` holds every answer that counts as right, and is empty if the file has none."""

    question: str
    context: str
    expected: tuple[str, ...]


def read_rows(source: Path) -> list[Row]:
    """Rows of a CSV, of every CSV directly in a folder, or of a SQuAD-format JSON, without rows with a blank field.

    Raises ExportError if a file cannot be read, or if there are no rows.
    """
    if source.is_dir():
        rows = [row for path in sorted(source.glob("*.csv")) for row in _read(path)]
    else:
        rows = list(_read(source))
    if not rows:
        raise ExportError(f"{source}: no rows to judge a bundle by; name a CSV or SQuAD JSON with --evaluate")
    return rows


def _read(path: Path) -> Iterator[Row]:
    try:
        yield from _squad(path) if path.suffix == ".json" else _csv(path)
    except InputError as error:
        raise ExportError(str(error)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} cannot be read: {type(error).__name__}: {error}; {_WHAT}") from error


def _csv(path: Path) -> Iterator[Row]:
    for row in read_labelled(path, dict.fromkeys(("question", "context"), _WHAT)):
        if _is_shown(row["question"]) and _is_shown(row["context"]):
            expected = row.get("expected")
            yield Row(row["question"], row["context"], (expected,) if expected else ())


def _squad(path: Path) -> Iterator[Row]:
    articles: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                expected = tuple(dict.fromkeys(answer["text"] for answer in question["answers"]))
                if not all(isinstance(each, str) for each in expected):
                    raise TypeError("an answer's text is not text")
                if _is_shown(question["question"]) and _is_shown(paragraph["context"]):
                    yield Row(question["question"], paragraph["context"], expected)


def _is_shown(text: object) -> bool:
    """Whether a field says something; all that a row without can have is an error."""
    return isinstance(text, str) and bool(text.strip(BLANK)) and not _HALF.search(text)
