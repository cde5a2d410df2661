"""Tables as people have them: what is taken, what is refused, and that every remedy works when it is followed."""

import bz2
import re

import pytest

from runtime.errors import InputError
from tests.conftest import ROOT
from tests.support.ingest_cases import LATER, REFUSED, TAKEN, Refused, Taken, page, refuse, run
from tests.support.remedies import remedies


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: str(case.what))
def test_what_is_unambiguous_is_taken(case: Taken) -> None:
    """It leaves as a strict comma CSV in UTF-8, and what was done is said."""
    parts, remarks = run(case)
    assert parts == {"1": case.becomes}
    assert remarks or case.becomes.encode() in case.content


@pytest.mark.parametrize("case", [*REFUSED, *LATER], ids=lambda case: str(case.what))
def test_a_remedy_followed_to_the_letter_works(case: Refused) -> None:
    """What is refused is refused with a remedy, and whoever follows it has a file that is taken."""
    with pytest.raises(InputError) as refusal:
        refuse(case)
    for option in case.with_options:
        assert option in refusal.value.remedy or not option.startswith("--") or "encoding" in option
    assert run(case, case.then, (*case.options, *case.with_options), case.then_name)[0]


def test_every_remedy_that_the_code_can_print_has_a_case() -> None:
    """Derived from the code: each branch of each `remedy=` is printed by a case, and so is followed by the test above.

    `answered.py` and `reader.py` speak of what `answer` wrote, and of what polars refuses though `records` took it.
    """
    printed = []
    for case in [*REFUSED, *LATER]:
        with pytest.raises(InputError) as refusal:
            refuse(case)
        printed.append(refusal.value.remedy)
    files = [*(ROOT / "stages/ingesting").glob("*.py"), *(ROOT / "stages/csvs").glob("*.py")]
    in_code = {remedy for file in files if file.stem not in ("answered", "reader") for remedy in remedies(file)}
    assert len(in_code) > 40
    assert not {remedy for remedy in in_code if not any(re.fullmatch(remedy, text) for text in printed)}


def test_the_page_says_what_the_code_does() -> None:
    """`make docs` writes the tables anew."""
    text = (ROOT / "docs/ingest.md").read_text("utf-8")
    assert "\n".join(page()) in text


@pytest.mark.parametrize(
    "name",
    ["GIF87a", "GIF89a note", "BZh1", "BZh91AY", "ORCID", "ORC", "PAR1", "ARROW1", "FEA1", "%PDF", "%PDF-pages",
     "<html>", "<table>", "SQLite format 3", "7z", "Rar!", "PK", "{x}", "[x]", "Obj", "ustar", "RIFF", "BM", "ID3"],
)  # fmt: skip
def test_a_header_may_begin_as_other_formats_do(name: str) -> None:
    """Marks that are text count only with what follows them in a file of the format."""
    for text in (f"{name},question,context\nx,Who?,Mara\n", f'"{name}",question,context\nx,Who?,Mara\n'):
        assert run(Taken("", text.encode()))[0] == {"1": text}


FORMATS = {
    "GIF": b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff",
    "ORC": b"ORC\n\x06\n\x04\x08\x01P\0",
    "ARROW": b"ARROW1\0\0\xff\xff\xff\xff",
    "bzip2": bz2.compress(bz2.compress(bz2.compress(b"question"))),
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "HTML": b"\n <!-- page -->\n<HTML lang=en>\n<body>",
    "table": b"<table border=1><tr><td>question",
    "XML": b"\xef\xbb\xbf<?xml version='1.0'?><Workbook>",
    "JSON list": b'[\n  {"question": "Who?"}\n]',
    "pretty JSON": b'{\n  "question": "Who?",\n  "context": "Mara"\n}',
    "RTF": b"{\\rtf1\\ansi question, context}",
    "SQLite": b"SQLite format 3\0\x10\0",
    "Parquet": b"PAR1\x15\0\x15",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_other_formats_are_told_by_name(kind: str) -> None:
    with pytest.raises(InputError) as refusal:
        run(Taken("", FORMATS[kind]))
    assert "not a CSV" in refusal.value.reason or "Parquet" in refusal.value.reason
