"""Answered CSVs for the page of answers, and the page opened in a browser."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages import view

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEADER = ("question", "context", "answer", "score", "confidence", "start", "end", "error", "model", "expected")


def answered(question: str, context: str, answer: str, **changes: str) -> dict[str, str]:
    start = context.index(answer)
    row = dict.fromkeys(HEADER, "") | {"question": question, "context": context, "answer": answer, "model": "m"}
    numbers = {"score": "0.9", "confidence": "0.8", "start": str(start), "end": str(start + len(answer))}
    return row | numbers | {"expected": answer} | changes


def show(page: "Page", source: Path, *options: str, address: str = "") -> Path:
    target = source.parent / f"{source.name}.html"
    assert view.view(view.arguments([str(source), "--output", str(target), *options])) == 0
    page.goto(f"{target.as_uri()}{address}")
    return target


def shown(page: "Page") -> int:
    return page.locator("article").count()


def questions(page: "Page") -> list[str]:
    """The headings of the rows that are shown, in order."""
    return page.locator("article h3").all_text_contents()


def until_shown(page: "Page", rows: int) -> None:
    page.wait_for_function("rows => document.querySelectorAll('article').length === rows", arg=rows)
