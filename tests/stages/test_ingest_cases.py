"""Tables as people have them: what is taken, what is refused, and that every remedy works when it is followed."""

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import InputError
from stages.ingesting.encodings import detect
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
    "call it .ndjson if it has an object on each line, else ",
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
