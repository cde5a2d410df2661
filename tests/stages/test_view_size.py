"""A page of 2,000 rows stays below 3 MB whatever the rows hold, and says what it leaves out."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages import view
from stages.csvs.answered import AnsweredRow, Choice
from stages.viewing import worst
from stages.viewing.data import fit_rows
from stages.viewing.shell import as_json
from stages.viewing.survey import judge_row
from tests.support.pages import answered
from tests.support.processes import peak
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


def test_long_passages_do_not_fill_memory(tmp_path: Path) -> None:
    """Of a passage of a megabyte the page shows less, and no more of it is kept."""
    rows = [answered(f"q {n}", f"{many(n, 500_000)} Ada {many(n, 500_000)}", "Ada") for n in range(200)]
    source = write_rows(tmp_path / "a.csv", rows)
    assert peak("stages.view", source, "--output", tmp_path / "page.html") < 190 << 10
    data = data_of(tmp_path / "page.html")["rows"]
    assert data["width"] == 8_000
    assert data["length"] == [len(row["context"]) for row in rows]
    texts = [data["contexts"][number] for number in data["context"]]
    starts = [start - offset for (_, _, _, start, _), offset in zip(data["best"], data["offset"], strict=True)]
    assert {text[start : start + 3] for text, start in zip(texts, starts, strict=True)} == {"Ada"}


def test_a_passage_that_rows_share_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the page once, and in memory once; rows that are no longer among the worst count no more."""
    monkeypatch.setattr(worst, "MOST", 100_000)
    kept = worst.Worst(20)
    for number in range(200):
        # Each is worse than all before.
        best = Choice("Ada", None, 1 - number / 200, 0, 3)
        kept.add(
            judge_row(
                AnsweredRow("a.csv", number, "q", f"Ada {number // 40} {'x' * 40_000}", best, "", "m"), "expected"
            )
        )
    assert (kept.plan, {len(row.row.context) for row in kept.rows()}) == (0, {40_006})
    assert [row.row.row for row in kept.rows()] == list(range(199, 179, -1))
    assert len({id(row.row.context) for row in kept.rows()}) == 1
    for number in range(20):
        kept.add(
            judge_row(
                AnsweredRow("b.csv", number, "q", many(number, 40_000), Choice("Ada", None, 0.0, 0, 3), "", "m"), "e"
            )
        )
    assert kept.plan > 1
    assert sum(len(row.row.context) for row in kept.rows()) < 100_000


def test_rows_that_cannot_fit_are_left_out() -> None:
    """Names of files are never cut, because they name the rows; where they take all the room, there are fewer rows."""
    best = Choice("Ada", 0.9, 0.8, 0, 3)
    rows = [AnsweredRow(many(number, 1_000), 1, "q", "Ada", best, "", "m") for number in range(ROWS)]
    data = fit_rows([judge_row(row, "expected") for row in rows], 600_000)
    assert len(data["row"]) == 500
    assert data["row"] == [1] * 500
    assert len(as_json(data)) <= 600_000
