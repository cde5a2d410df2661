"""Tables as people have them: what is taken, what is refused, and that every remedy works when it is followed."""

import bz2
import io
import re

import pytest

from runtime.errors import InputError
from stages.ingesting.encodings import detect
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
    """`python -m tests.support.ingest_cases` prints the tables anew."""
    text = (ROOT / "docs/ingest.md").read_text("utf-8")
    assert "\n".join(page()) in text


# Short texts, each with the encodings that they are written in.
TEXTS = {
    "Wann?,Am Dienstag hat Jürgen den Ofen geöffnet; es war heiß.": ("cp1252", "cp850", "mac-roman"),
    "Où ?,Près de l’église, à côté du théâtre.": ("cp1252", "mac-roman"),
    "¿Cuándo llegó?,Llegó mañana con su niño.": ("cp1252", "cp850"),
    "Quando?,A reunião começou às três na estação.": ("cp1252", "cp850"),
    "Perché?,Perché la città è più bella così.": ("cp1252", "cp850"),
    "När kom han?,Han kom på måndag förmiddag.": ("cp1252", "cp850"),
    "Hvornår?,På søndag kører vi til Århus.": ("cp1252", "cp850"),
    "Who?,The “kiln” cost €900 – Mara’s.": ("cp1252",),
    "Kiedy?,Będzie jutro, więc czekaj.": ("cp1250", "iso8859-2"),
    "Kdo přišel?,Včera přišel můj přítel z Brna.": ("cp1250", "iso8859-2"),
    "Ki jött?,A nő tegnap jött az őrült fűtővel.": ("cp1250", "iso8859-2"),
    "Cine a venit?,Ieri a venit băiatul şi fata în oraş.": ("cp1250",),
    "Kim geldi?,Dün akşam yağmur yağdı, ışık söndü.": ("cp1254",),
    "Кто пришёл?,Вчера пришёл Иван.": ("cp1251", "koi8-r", "cp866"),
    "Ποιος ήρθε?,Χθες ήρθε ο Γιάννης.": ("cp1253",),
    "מי בא?,אתמול בא יוסי": ("cp1255",),
    "誰ですか,マラは窯に火を入れました。": ("cp932",),
}


@pytest.mark.parametrize(("text", "encoding"), [(text, kind) for text, kinds in TEXTS.items() for kind in kinds])
def test_what_is_detected_is_right(text: str, encoding: str) -> None:
    """A short text is refused where it could be several, and never read wrongly; Western ones of Excel's are taken."""
    try:
        found, _ = detect(io.BytesIO(f"{text}\n".encode(encoding)))
    except InputError:
        assert encoding != "cp1252"
    else:
        assert text.encode(encoding).decode(found) == text


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
