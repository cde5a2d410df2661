"""What the tests of loading share: CSVs to load, loading them, and what is in the table afterwards."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import psycopg
from psycopg import sql

from stages import load
from stages.loading.options import arguments

HEADER = ("question", "context", "answer", "score", "confidence", "start", "end", "error", "model")


def row_of(number: int, text: str = "text") -> dict[str, str]:
    """An answered row whose every value tells its number and the version of the file."""
    return {
        "question": f"{text} {number}?",
        "context": f"context, {text} {number}",
        "answer": f"{text} {number}",
        "score": "0.5",
        "confidence": "0.75",
        "start": "9",
        "end": "13",
        "error": "",
        "model": text,
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """An answered CSV; its columns are those of the first row. All is quoted: Python leaves a lone \\r bare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else HEADER, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_version(path: Path, text: str, rows: int) -> Path:
    """A CSV of so many rows that all say `text`."""
    return write_rows(path, [row_of(number, text) for number in range(rows)])


def run_load(url: str, source: Path, target: Path, *options: str, retry_for: float = 0, **environment: str) -> int:
    """Loads in this process; returns the exit code."""
    bad_rows = [] if {"--on-bad-row", "--prune"} & set(options) else ["--on-bad-row", "fail"]
    given = arguments([str(source), str(target), "--retry-for", str(retry_for), *bad_rows, *options])
    with patch.dict(os.environ, {"DATABASE_URL": url, **environment}):
        return load.load(given)


def versions_of(url: str, table: str = "question_answer") -> dict[str, dict[str, int]]:
    """How many rows of which version (what `model` says) each file has."""
    counted = sql.SQL("select file, model, count(*), count(distinct row) from {} where file is not null group by 1, 2")
    query = counted.format(sql.Identifier(table))
    found: dict[str, dict[str, int]] = {}
    for file, model, rows, distinct in rows_of(url, query):
        assert rows == distinct, f"{file}: a row is there twice"
        found.setdefault(str(file), {})[str(model)] = int(str(rows))
    return found


def rows_of(url: str, query: str | sql.Composed) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode() if isinstance(query, str) else query).fetchall()


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())
