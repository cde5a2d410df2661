"""The page of answers keeps its filters in the address: opened with it, or on the way Back, it shows the same."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import answered, questions, show, until_shown
from tests.support.rows import write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
TEXT = "Ada called at noon, and Bob at one."


def rows() -> list[dict[str, str]]:
    """Nine answers of rising confidence; one is wrong, one is none, two failed."""
    made = [answered(f"q{number}", TEXT, "Ada", confidence=f"0.{number}") for number in range(1, 10)]
    made[2] |= {"expected": "Bob"}
    made[4] |= {"answer": "", "start": "", "end": "", "expected": ""}
    failed = dict.fromkeys(("answer", "score", "confidence", "start", "end"), "")
    made.append({**made[0], **failed, "question": "q10", "error": "empty context & more"})
    made.append({**made[0], **failed, "question": "q11", "error": "too long"})
    return made


@pytest.fixture
def target(page: "Page", tmp_path: Path) -> Path:
    """The page of two files, opened."""
    write_rows(tmp_path / "in/a b&c.csv", rows()[:6])
    write_rows(tmp_path / "in/d.csv", rows()[6:])
    return show(page, tmp_path / "in")


def drag(page: "Page", slider: str, value: int) -> None:
    page.locator(f"#{slider}").fill(str(value))


FILTERS: dict[str, tuple[Callable[["Page"], object], list[str]]] = {
    "text": (lambda page: page.locator("#text").fill("q3"), ["q3"]),
    "file": (lambda page: page.locator("#file").select_option("a b&c.csv"), ["q3", "q5", "q1", "q2", "q4", "q6"]),
    "at least": (lambda page: drag(page, "low", 80), ["q8", "q9"]),
    "at most": (lambda page: drag(page, "high", 20), ["q1", "q2"]),
    "errors": (lambda page: page.get_by_label("Errors").check(), ["q10", "q11"]),
    "kind of error": (lambda page: page.get_by_role("button", name="empty context & more").click(), ["q10"]),
    "differs": (lambda page: page.get_by_label("Differs from expected").check(), ["q3"]),
    "no answer": (lambda page: page.get_by_label("No answer").check(), ["q5"]),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_survives_sending_and_going_back(page: "Page", target: Path, name: str) -> None:
    """The address opened in another tab shows the same; Back shows what was there before, and Forward this again."""
    everything = questions(page)
    act, expected = FILTERS[name]
    act(page)
    until_shown(page, len(expected))
    assert questions(page) == expected
    other = page.context.new_page()
    other.goto(page.url)
    assert questions(other) == expected
    assert other.locator("#count").text_content() == page.locator("#count").text_content()
    other.close()
    page.go_back()
    until_shown(page, len(everything))
    assert (questions(page), page.url) == (everything, target.as_uri())
    page.go_forward()
    until_shown(page, len(expected))
    assert questions(page) == expected


def test_all_filters_and_the_order_hold_together(page: "Page", target: Path) -> None:
    page.locator("#file").select_option("a b&c.csv")
    drag(page, "low", 20)
    drag(page, "high", 90)
    page.locator("#sort").select_option("sure")
    page.locator("#text").fill("ADA")
    assert questions(page) == ["q6", "q5", "q4", "q3", "q2"]
    other = page.context.new_page()
    other.goto(page.url)
    assert questions(other) == questions(page)
    for name in ("text", "file", "low", "high", "sort"):
        assert other.locator(f"#{name}").input_value() == page.locator(f"#{name}").input_value(), name
    other.close()


ORDERS = {
    "worst": ["q10", "q11", "q3", "q5", "q1", "q2", "q4", "q6", "q7", "q8", "q9"],
    "file": ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11"],
    "unsure": ["q10", "q11", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9"],
    "sure": ["q9", "q8", "q7", "q6", "q5", "q4", "q3", "q2", "q1", "q10", "q11"],
    "f1": ["q3", "q1", "q2", "q4", "q6", "q7", "q8", "q9", "q10", "q11", "q5"],
}


@pytest.mark.usefixtures("target")
def test_rows_are_sorted_by_what_is_chosen(page: "Page") -> None:
    for order, expected in ORDERS.items():
        page.locator("#sort").select_option(order)
        assert questions(page) == expected, order


@pytest.mark.usefixtures("target")
def test_what_is_typed_is_one_step_back(page: "Page") -> None:
    page.get_by_label("Errors").check()
    page.locator("#text").press_sequentially("too long")
    until_shown(page, 1)
    page.go_back()
    until_shown(page, 2)
    assert page.locator("#text").input_value() == ""


def test_an_address_of_nonsense_shows_all_rows(page: "Page", target: Path) -> None:
    for address in ("#only=nothing&sort=up&low=x&high=-1", "#constructor=1&__proto__=2", "#%E0%A4%A", "#at=1:none"):
        page.goto("about:blank")
        page.goto(f"{target.as_uri()}{address}")
        until_shown(page, 11)


@pytest.mark.usefixtures("target")
def test_keys_walk_the_rows_and_search(page: "Page") -> None:
    """j and k go on and back, / searches, Esc leaves the search and keeps its words, and then clears the filters."""
    focused = "document.activeElement.querySelector('h3')?.textContent"
    for key, expected in (("j", "q10"), ("j", "q11"), ("j", "q3"), ("k", "q11"), ("k", "q10"), ("k", "q10")):
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected
    steps = page.evaluate("history.length")
    other = page.context.new_page()
    other.goto(page.url)
    assert other.evaluate(focused) == "q10"
    other.close()
    page.keyboard.press("/")
    page.keyboard.type("q7")
    until_shown(page, 1)
    page.keyboard.press("Escape")
    assert page.locator("#text").input_value() == "q7"
    assert page.evaluate("document.activeElement.id") != "text"
    page.keyboard.press("Escape")
    until_shown(page, 11)
    assert page.evaluate("history.length") == steps + 2
