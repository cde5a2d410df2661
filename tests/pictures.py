"""Takes the pictures of both pages in docs/img again, from what `make demo` has left: python -m tests.pictures."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import answermill
from pachyderm.local.store.store import Store
from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.conftest import ROOT

PICTURES = ROOT / "docs/img"
# Answers that are worth a look, with their passages; what stands above them is scrolled away.
ROWS = "#sort=unsure&only=differs"


def main(root: Path) -> int:
    """Makes both pages of the demo's root and pictures of them. Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        answers, page, run = (Path(folder) / name for name in ("answers", "answers.html", "run.html"))
        answers.symlink_to(Store(root).repo("question-answer").head().folder)
        answermill.main(["view", str(answers), "--model", str(root / "model"), "--output", str(page)])
        answermill.main(["status", "--root", str(root), "--html", str(run)])
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        take(browser, f"{page.as_uri()}{ROWS}", "answers", ".columns")
        take(browser, run.as_uri(), "run", ".brand")
        browser.close()
    return 0


def take(browser: Browser, address: str, name: str, top: str) -> None:
    """Pictures of a page in light and dark, scrolled so that `top` is at the top."""
    for scheme in ("light", "dark"):
        tab = browser.new_page(viewport={"width": 1120, "height": 700}, color_scheme=scheme)
        tab.goto(address)
        tab.locator(top).evaluate("(node) => scrollTo(0, node.getBoundingClientRect().top - 24)")
        tab.wait_for_timeout(500)
        tab.screenshot(path=PICTURES / f"{name}-{scheme}.png")
        tab.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/demo"))
