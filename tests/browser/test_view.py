"""The page of answers, in a real Chromium: it marks the right characters, filters, and runs nobody's script."""

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages import view
from tests.support.loading import run_load
from tests.support.pages import answered, show, shown
from tests.support.rows import write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

# Every one would change the title if a browser took it for code, or break the element that holds the data.
HOSTILE = (
    "<script>document.title='PWNED'</script>",
    "</script><script>document.title='PWNED'</script>",
    "<img src=x onerror=\"document.title='PWNED'\">",
    "<!--<script>",
    "]]>\u2028\u2029'\"`${document.title='PWNED'}",
    "javascript:document.title='PWNED'",
)
# Passages whose answers stand elsewhere when UTF-16 units are counted instead of code points.
PASSAGES = (
    ("plain", "Ada called at noon.", "Ada"),
    ("emoji before", "😀😀 At noon 👩‍👩‍👧‍👦 Ada called.", "Ada"),
    ("emoji inside", "They sent 🇫🇷👩‍👩‍👧‍👦🎉 home.", "🇫🇷👩‍👩‍👧‍👦🎉"),
    ("cjk", "昼に𠮷野家でエイダが電話しました。", "エイダ"),
    ("right to left", "اتصلت آدا عند الظهر في يوم مشمس.", "آدا"),
    ("combining", "A cafe\u0301 noir was served.", "cafe\u0301 noir"),
    ("tabs and lines", "one\ttwo\n\nthree\r\nfour", "three"),
    ("long", "word " * 4000 + "the needle" + " word" * 4000, "the needle"),
)


def test_the_answer_is_marked_at_its_code_points(page: "Page", tmp_path: Path) -> None:
    show(page, write_rows(tmp_path / "a.csv", [answered(*passage) for passage in PASSAGES]))
    for question, _, answer in PASSAGES:
        card = page.locator("article", has_text=question).first
        assert card.locator("mark").first.text_content() == answer, question


def test_nothing_of_the_input_runs(page: "Page", tmp_path: Path) -> None:
    rows = [
        answered(f"{text} {number}", f"{text} Ada called. {text}", "Ada", error="" if number else text, expected=text)
        for number, text in enumerate(HOSTILE)
    ]
    rows = [{**row, f"own {HOSTILE[0]}": HOSTILE[1]} for row in rows]
    target = show(page, write_rows(tmp_path / "a.csv", rows))
    assert page.title() == "Answers: a.csv"
    for text in HOSTILE[:3]:
        assert text in (page.locator("main, body").first.text_content() or "")
    html = target.read_text("utf-8")
    assert html.count("<script") == 2
    assert re.search(r"default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'", html)
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", html)


def test_filters_narrow_the_rows_and_stay_in_the_address(page: "Page", tmp_path: Path) -> None:
    rows = [answered(f"question {number}", "Ada called.", "Ada", confidence=str(number / 10)) for number in range(10)]
    rows += [answered("wrong one", "Bob called.", "Bob", expected="Ada"), {**rows[0], "error": "empty context"}]
    target = show(page, write_rows(tmp_path / "a.csv", rows))
    assert shown(page) == 12
    page.get_by_text("Differs from expected", exact=False).first.click()
    page.wait_for_function("document.querySelectorAll('article').length === 1")
    address = page.url.removeprefix(target.as_uri())
    assert address
    page.goto("about:blank")
    page.goto(f"{target.as_uri()}{address}")
    assert shown(page) == 1
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelectorAll('article').length === 12")
    page.keyboard.press("/")
    page.keyboard.type("question 7")
    page.wait_for_function("document.querySelectorAll('article').length === 1")


def test_two_runs_are_shown_side_by_side(page: "Page", tmp_path: Path) -> None:
    context = "Ada called at noon and Bob at one."
    before = write_rows(
        tmp_path / "before/a.csv", [answered("Who?", context, "Ada"), answered("same", context, "noon")]
    )
    after = write_rows(tmp_path / "after/a.csv", [answered("Who?", context, "Bob"), answered("same", context, "noon")])
    target = tmp_path / "page.html"
    assert view.view(view.arguments([str(after), "--against", str(before), "--output", str(target)])) == 0
    page.goto(target.as_uri())
    card = page.locator("article", has_text="Who?").first
    marks = card.locator("mark").all_text_contents()
    assert {"Ada", "Bob"} <= set(marks)


def test_the_page_fits_a_phone_and_names_its_controls(page: "Page", tmp_path: Path) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    show(page, write_rows(tmp_path / "a.csv", [answered(*passage) for passage in PASSAGES]))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter("
        "e => !(e.labels?.length || e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim())).length"
    )
    assert nameless == 0


def test_two_thousand_rows_stay_below_three_megabytes(page: "Page", tmp_path: Path) -> None:
    """Of more rows the worst are shown, and the page says so."""
    text = " ".join(f"word{number}" for number in range(400))
    rows = [
        answered(f"q{number}", f"{number} {text}", "word7", confidence=f"{number / 3000:.4f}") for number in range(3000)
    ]
    target = show(page, write_rows(tmp_path / "a.csv", rows))
    assert target.stat().st_size < 3_000_000
    body = page.locator("body").text_content() or ""
    assert "3,000" in body and "2,000" in body
    assert "q0" in body


def test_the_table_of_the_database_is_shown(
    page: "Page", database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "in/a.csv", [answered(*passage) for passage in PASSAGES[:3]])
    assert run_load(database, source.parent, tmp_path / "out") == 0
    monkeypatch.setenv("DATABASE_URL", database)
    target = tmp_path / "page.html"
    assert view.view(view.arguments(["--database", "--output", str(target)])) == 0
    page.goto(target.as_uri())
    assert shown(page) == 3


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    import sys

    (tmp_path / "a.csv").write_text("question,context\nq,c\n")
    words = [sys.executable, "-m", "stages.view", str(tmp_path / "a.csv"), "--output", str(tmp_path / "p.html")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "answer" in done.stderr
    assert not (tmp_path / "p.html").exists()
