"""What the page of answers says of rows that are odd: further ranks, blanks, errors, megabytes, more rows than fit."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages import view
from tests.support.pages import answered, show, shown
from tests.support.rows import write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
FILLER = "word " * 4000


def ranked(context: str, *answers: str) -> list[dict[str, str]]:
    """Rows as `answer --top-k` writes them."""
    rows = [answered("Where?", context, answer) for answer in answers]
    head = list(rows[0])
    at = head.index("answer")
    return [
        {name: {**row, "rank": str(number)}[name] for name in [*head[:at], "rank", *head[at:]]}
        for number, row in enumerate(rows, 1)
    ]


def test_every_rank_of_a_folded_passage_is_marked(page: "Page", tmp_path: Path) -> None:
    """However far from each other they are; what lies between is folded, and a button shows it."""
    context = f"{FILLER}the first {FILLER}a second one {FILLER}𝔱𝔥𝔦𝔯𝔡 {FILLER}"
    show(page, write_rows(tmp_path / "a.csv", ranked(context, "a second one", "𝔱𝔥𝔦𝔯𝔡", "the first")))
    assert page.locator("article").count() == 1
    assert page.locator("mark").all_text_contents() == ["the first", "a second one", "𝔱𝔥𝔦𝔯𝔡"]
    assert page.locator("mark.best").all_text_contents() == ["a second one"]
    assert page.locator("button.fold").count() == 4
    assert len(page.locator(".passage").text_content() or "") < 1500
    page.locator("button.fold").nth(1).click()
    assert page.locator(".passage").text_content() == context
    assert page.locator("mark").all_text_contents() == ["the first", "a second one", "𝔱𝔥𝔦𝔯𝔡"]


def test_answers_in_what_is_cut_away_are_counted(page: "Page", tmp_path: Path) -> None:
    context = f"{FILLER}the first {FILLER}a second one {FILLER}third {FILLER}"
    rows = [row for number in range(150) for row in ranked(f"{number} {context}", "a second one", "third", "the first")]
    show(page, write_rows(tmp_path / "a.csv", rows))
    card = page.locator("article").first
    assert card.locator("mark").all_text_contents() == ["a second one"]
    assert "2 answers more outside of what this page keeps" in (card.text_content() or "")
    card.locator("button.fold").first.click()
    assert "characters before are not in this page" in (card.text_content() or "")


@pytest.mark.parametrize("blank", ["", " \t\n", "\u200b\u2063", "\u3000\xa0", "\u3164"])
def test_what_cannot_be_seen_is_said_in_words(page: "Page", tmp_path: Path, blank: str) -> None:
    """A heading, an answer or a passage without a visible character would look like a fault of the page."""
    rows = [answered(blank, f"Ada{blank} called.", "Ada"), answered("q", blank, ""), answered("r", f"a{blank}b", blank)]
    rows[1] |= {"error": "empty context"}
    show(page, write_rows(tmp_path / "a.csv", rows))
    cards = {text.split("\n")[0]: text for text in page.locator("article").all_inner_texts()}
    kind = "of white space only" if blank else ""
    assert any(re.match(f"question {kind}" if kind else "no question", text) for text in cards), cards
    assert ("passage of white space only" if blank else "no passage") in cards["q"]
    assert "empty context" in cards["q"]
    assert ("answer of white space only" if blank else "no answer") in cards["r"]


def test_a_context_of_a_megabyte_opens_at_its_answer(page: "Page", tmp_path: Path) -> None:
    context = f"{'😀 word ' * 75_000}the needle{' word' * 75_000}"
    rows = [answered(f"q{number}", context, "the needle") for number in range(50)]
    target = show(page, write_rows(tmp_path / "a.csv", rows))
    assert target.stat().st_size < 3_000_000
    assert page.locator("mark").all_text_contents()[:2] == ["the needle"] * 2
    page.locator("#text").fill("THE NEEDLE")
    page.wait_for_function("document.querySelector('#count').textContent === '50 rows'")


def test_control_characters_are_pictured_in_place(page: "Page", tmp_path: Path) -> None:
    show(page, write_rows(tmp_path / "a.csv", [answered("\x1b[31mred", "a\x07b \x1b[2J Ada\x7f here", "Ada\x7f")]))
    assert page.locator("h3").text_content() == "␛[31mred"
    assert page.locator("mark").text_content() == "Ada␡"
    assert "a␇b ␛[2J" in (page.locator(".passage").text_content() or "")


def test_text_that_turns_direction_turns_nothing_else(page: "Page", tmp_path: Path) -> None:
    """An override that is never closed ends with the text that it stands in."""
    write_rows(tmp_path / "in/\u202eevil.csv", [answered("\u202eturned", "\u202eAda called.", "Ada")])
    show(page, tmp_path / "in")
    isolated = "e => ['isolate', 'plaintext', 'isolate-override'].includes(getComputedStyle(e).unicodeBidi)"
    for place in ("article h3", "article .text", ".passage", "article footer bdi"):
        assert page.locator(place).first.evaluate(isolated), place


def test_a_single_part_has_the_owners_file_and_rows(page: "Page", tmp_path: Path) -> None:
    part = write_rows(tmp_path / "x/a.csv.parts/row-0000005001.csv", [answered("q", "Ada called.", "Ada")])
    for source in (part, part.parent, tmp_path / "x"):
        show(page, source)
        assert page.locator("article footer").first.inner_text().startswith("a.csv, row 5,001"), source


def test_two_single_files_are_one_file(page: "Page", tmp_path: Path) -> None:
    """A page compares `new.csv` with `old.csv` row by row, as `compare` does."""
    old = write_rows(tmp_path / "old.csv", [answered("q", "Ada called Bob.", "Ada")])
    new = write_rows(tmp_path / "new.csv", [answered("q", "Ada called Bob.", "Bob")])
    show(page, new, "--against", str(old))
    assert set(page.locator("mark").all_text_contents()) == {"Ada", "Bob"}


def test_a_broken_file_of_either_run_is_named(page: "Page", tmp_path: Path) -> None:
    for run in ("old", "new"):
        write_rows(tmp_path / run / "a.csv", [answered("q", "Ada called Bob.", "Ada")])
        (tmp_path / run / "broken.csv").write_text("question,context\nq,c\n")
    target = tmp_path / "page.html"
    words = [str(tmp_path / "new"), "--against", str(tmp_path / "old"), "--output", str(target)]
    assert view.view(view.arguments(words)) == 1
    page.goto(target.as_uri())
    notices = page.locator("#notices").inner_text()
    assert "2 files could not be read whole" in notices
    assert "new: broken.csv" in notices and "old: broken.csv" in notices


def test_of_too_many_rows_the_worst_are_shown(page: "Page", tmp_path: Path) -> None:
    """Errors, then wrong answers, then the least certain ones; the page says how many there are."""
    rows = [answered(f"q{number}", "Ada called.", "Ada", confidence=f"{number / 3000:.4f}") for number in range(2500)]
    rows[2400] |= {"error": "empty context", "answer": "", "start": "", "end": ""}
    rows[2300] |= {"expected": "Bob"}
    show(page, write_rows(tmp_path / "a.csv", rows))
    assert page.locator("article h3").all_text_contents()[:4] == ["q2400", "q2300", "q0", "q1"]
    assert "2,000 of 2,500 rows are in this page, the worst first" in page.locator("#notices").inner_text()
    assert shown(page) < 100
