"""Both pages for everybody: contrast, names of controls, a narrow screen, paper, and a preference for less light."""

import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages import view, view_run
from stages.viewing.run import run_data
from stages.viewing.shell import page as html_page
from tests.support.pages import answered
from tests.support.rows import write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
TEXT = "Ada called at noon, and Bob at one. " * 60

FAINT = Path(__file__).with_name("contrast.js").read_text("utf-8")
CONTROLS = "button|textbox|searchbox|combobox|slider|radio|checkbox|link|img|region|article|group|form"
Maker = Callable[[Path], Path]


def answers(folder: Path) -> Path:
    """A page with one of everything: errors, no answer, wrong answers, ranks, what changed, columns, notices."""
    rows = [answered(f"Who {number}?", TEXT, "Ada", own="mine", confidence=f"0.{number}") for number in range(1, 8)]
    rows[0] |= {"error": "too long", "answer": "", "start": "", "end": ""}
    rows[1] |= {"answer": "", "start": "", "end": "", "confidence": "0.9"}
    rows[2] |= {"expected": "noon"}
    others = [{**row, "start": "15", "end": "19", "answer": "noon", "error": ""} for row in rows]
    for name, made in (("new", rows), ("old", others)):
        head = list(rows[0])
        header = [*head[:2], "rank", *head[2:]]
        ranks = [{**row, "rank": rank, "error": row["error"]} for row in made for rank in ("1", "2")]
        write_rows(folder / name / "a.csv", [{field: row[field] for field in header} for row in ranks])
        (folder / name / "broken.csv").write_text("question,context\nq,c\n")
    target = folder / "page.html"
    words = [str(folder / "new"), "--against", str(folder / "old"), "--output", str(target), "--rows", "6"]
    assert view.view(view.arguments(words)) == 1
    return target


def run(folder: Path) -> Path:
    """A page with one of everything: jobs of each state, a failed datum with a log, a rejected file, a tick."""
    states = ("success", "failure", "killed", "unrunnable", "running")
    base = {"seconds": 2.5, "reason": "no space left", "counts": {"processed": 3, "failed": 1}}
    jobs = [{"number": number, "state": state, "started": 1.7e9, **base} for number, state in enumerate(states)]
    datum = {
        "id": "i",
        "label": "/a",
        "state": "failed",
        "tries": 1,
        "seconds": 1,
        "error": "broken",
        "log": ["line"] * 30,
    }
    cron = {"cron": {"name": "tick", "spec": "@hourly", "repo": "one_tick"}}
    pair = {"cross": [{"pfs": {"repo": "one", "glob": "/"}}, {"pfs": {"repo": "two", "glob": "/"}}]}
    pipelines = [
        {"name": "one", "input": cron, "jobs": jobs[:1], "datums": []},
        {"name": "two", "input": {"pfs": {"repo": "one", "glob": "/*"}}, "jobs": jobs[:2], "datums": [datum]},
        {"name": "three", "input": pair, "jobs": jobs, "datums": [{**datum, "state": "recovered"}]},
        {"name": "four", "input": {"pfs": {"repo": "three", "glob": "/*"}}, "jobs": [], "datums": []},
    ]
    note = {"note": "rejected/a.json", "object": "a" * 300, "row": 7, "reason": "a quote", "remedy": "close it"}
    repos = [{"name": "one", "rejected": [note]}]
    seen = {"root": "/root", "running": False, "repos": repos, "pipelines": pipelines}
    data = {**run_data(seen), "made": "2026-01-01T00:00:00+00:00"}
    (folder / "run.html").write_text(html_page("The run", "run.html", view_run.STYLES, view_run.MODULES, data))
    return folder / "run.html"


PAGES: dict[str, Maker] = {"answers": answers, "run": run}


def opened(page: "Page", target: Path) -> None:
    page.goto(target.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")


@pytest.mark.parametrize("name", PAGES)
def test_every_text_stands_out_from_its_ground(page: "Page", tmp_path: Path, name: str) -> None:
    """4.5 to 1, or 3 to 1 where it is large, in light, in dark and on paper."""
    target = PAGES[name](tmp_path)
    for emulate in (
        partial(page.emulate_media, color_scheme="light"),
        partial(page.emulate_media, color_scheme="dark"),
        partial(page.emulate_media, media="print"),
    ):
        emulate()
        opened(page, target)
        for kind in ("all", "changed") if name == "answers" else ("all",):
            page.goto(f"{target.as_uri()}#only={kind}" if name == "answers" else target.as_uri())
            seen = page.evaluate(FAINT)
            assert seen["texts"] > 40
            assert seen["faint"] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_320_pixels_scrolls_only_down(page: "Page", tmp_path: Path, name: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    opened(page, PAGES[name](tmp_path))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.evaluate("scrollTo(1000, 0)")
    assert page.evaluate("scrollX") == 0


@pytest.mark.parametrize("name", PAGES)
def test_every_control_has_a_name_of_its_own(page: "Page", tmp_path: Path, name: str) -> None:
    """As a screen reader is told it, by the browser's tree of what is on the page."""
    opened(page, PAGES[name](tmp_path))
    tree = page.locator("body").aria_snapshot()
    controls = (
        r"^\s*- (button|textbox|searchbox|combobox|slider|radio|checkbox|link|img|region|article|group|form)\b(.*)$"
    )
    lines = re.findall(controls, tree, re.MULTILINE)
    assert lines
    # A group without a name is a <details>, which its summary names.
    nameless = [line for line in lines if not re.match(r' "[^"]', line[1]) and line[0] != "group"]
    assert nameless == []
    headings = [int(level) for level in re.findall(r"heading .*\[level=(\d)\]", tree)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_the_filters_say_what_they_are(page: "Page", tmp_path: Path) -> None:
    opened(page, answers(tmp_path))
    tree = page.locator("#filters").aria_snapshot()
    for expected in ('searchbox "Search"', 'group "Show"', 'radio "Errors', 'slider "At least, in percent"'):
        assert expected in tree, tree
    for expected in ('slider "At most, in percent"', 'combobox "File"', 'combobox "Order"', 'button "Clear filters"'):
        assert expected in tree, tree
    assert 'img "Rows by confidence' in tree


def test_paper_shows_all_rows_and_what_is_folded(page: "Page", tmp_path: Path) -> None:
    rows = [answered(f"Who {number}?", TEXT, "Bob") for number in range(119)]
    rows.append(answered("", TEXT, "", start="", end="", error="question is empty"))
    target = tmp_path / "page.html"
    source = str(write_rows(tmp_path / "a.csv", rows))
    assert view.view(view.arguments([source, "--output", str(target)])) == 0
    page.goto(target.as_uri())
    assert page.locator("article").count() < 120
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("article").count() == 120
    assert not page.locator("#filters").is_visible()
    assert page.locator(".fold").first.is_visible()
    assert page.locator(".kinds").inner_text().split("\n") == ["question is empty", "1"]
    assert page.pdf().startswith(b"%PDF")
