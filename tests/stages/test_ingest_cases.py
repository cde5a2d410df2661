"""Tables as people have them: what is taken, what is refused, and that every remedy works when it is followed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import InputError
from tests.conftest import ROOT
from tests.support.ingest_cases import REFUSED, TAKEN, Refused, Taken, page, run

# What `Records` prints for the later stages, which ingest has other words for, and what needs a folder to happen.
ELSEWHERE = {
    "save the file as UTF-8, or pass it through ingest with --encoding",
    "save it as UTF-8, or give --encoding utf-16 to ingest",
    "check that this is a CSV",
    "put the file itself there, or give --follow-links if you trust whoever can write to the folder",
    "remove it, or put the file there",
    "zip the CSV without one",
    "double the quotes inside quoted text",
}


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: str(case.what))
def test_what_is_unambiguous_is_taken(case: Taken) -> None:
    """It leaves as a strict comma CSV in UTF-8, and what was done is said."""
    parts, remarks = run(case)
    assert parts == {"1": case.becomes}
    assert remarks or case.becomes.encode() in case.content


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case.what))
def test_a_remedy_followed_to_the_letter_works(case: Refused) -> None:
    """What is refused is refused with a remedy, and whoever follows it has a file that is taken."""
    with pytest.raises(InputError) as refusal:
        run(case)
    for option in case.with_options:
        assert option in refusal.value.remedy or not option.startswith("--") or "encoding" in option
    assert run(case, case.then, (*case.options, *case.with_options))[0]


def remedies(path: Path) -> Iterator[str]:
    """The longest constant piece of every remedy that a file's code can print."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.keyword) or node.arg != "remedy":
            continue
        pieces = [
            part.value
            for part in ast.walk(node.value)
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value
        ]
        if pieces:
            yield max(pieces, key=len)


def test_every_remedy_in_the_code_has_a_case() -> None:
    printed = []
    for case in REFUSED:
        with pytest.raises(InputError) as refusal:
            run(case)
        printed.append(refusal.value.remedy)
    files = [*(ROOT / "stages/ingesting").glob("*.py"), ROOT / "stages/csvs/records.py"]
    in_code = {remedy for file in files for remedy in remedies(file)} - ELSEWHERE
    assert len(in_code) > 15
    missing = {remedy for remedy in in_code if not any(remedy in text for text in printed)}
    assert not missing


def test_the_page_says_what_the_code_does() -> None:
    """`python -m tests.support.ingest_cases` prints the tables anew."""
    text = (ROOT / "docs/ingest.md").read_text("utf-8")
    assert "\n".join(page()) in text
