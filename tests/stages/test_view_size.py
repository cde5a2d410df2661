"""A page of 2,000 rows stays below 3 MB whatever the rows hold, and says what it leaves out."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages import view
from stages.csvs.answered import Choice, Row
from stages.viewing.data import fit_rows
from stages.viewing.shell import as_json
from stages.viewing.survey import judge_row
from tests.support.pages import answered
from tests.support.rows import write_rows

ROWS = 2_000


def many(number: int, size: int, letter: str = "x") -> str:
    """A text that no other row has."""
    return f"{number} " + letter * size


# What a row is made of: long passages, long everything else, texts whose characters take six bytes, many columns.
KINDS: dict[str, Any] = {
    "passages": lambda number: answered("q", f"{many(number, 5_000)} Ada {many(number, 5_000)}", "Ada"),
    "questions": lambda number: answered(many(number, 3_000), "Ada called.", "Ada"),
    "controls": lambda number: answered(many(number, 500, "\x01"), f"Ada {many(number, 500, chr(2))}", "Ada"),
    "emoji": lambda number: answered(many(number, 400, "😀"), f"Ada {many(number, 400, '😀')}", "Ada"),
    "answers": lambda number: answered("q", many(number, 2_000), many(number, 2_000)),
    "errors": lambda number: {**answered("q", "Ada", "Ada"), "answer": "", "error": many(number, 2_000, "é")},
    "models": lambda number: {**answered("q", "Ada", "Ada"), "model": many(number, 2_000)},
    "columns": lambda number: {**answered("q", "Ada", "Ada"), **{f"own {n}": many(number, 30) for n in range(60)}},
    "blobs": lambda number: {**answered("q", "Ada", "Ada"), "own": many(number, 20_000)},
}


def data_of(page: Path) -> Mapping[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_rows_of_any_kind_fit(tmp_path: Path, kind: str) -> None:
    source = write_rows(tmp_path / "a.csv", [KINDS[kind](number) for number in range(ROWS)])
    assert view.main([str(source), "--output", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    rows = data_of(tmp_path / "page.html")["rows"]
    assert len(rows["row"]) == ROWS
    assert rows["ownLeftOut"] == (kind == "columns")


def test_rows_that_cannot_fit_are_left_out() -> None:
    """Names of files are never cut, because they name the rows; where they take all the room, there are fewer rows."""
    best = Choice("Ada", 0.9, 0.8, 0, 3)
    rows = [Row(many(number, 1_000), 1, "q", "Ada", best, "", "m") for number in range(ROWS)]
    data = fit_rows([judge_row(row, "expected") for row in rows], 600_000)
    assert len(data["row"]) == 500
    assert data["row"] == [1] * 500
    assert len(as_json(data)) <= 600_000
