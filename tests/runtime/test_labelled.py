"""Labelled rows as `calibrate` and `export --evaluate` read them: what is no sound CSV is refused, with its place."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from export import verify
from export.evaluation import Row, read_rows
from runtime.calibrate import arguments, labelled_rows
from runtime.decoding import Decoding
from runtime.errors import ExportError, InputError
from runtime.windows import Windower
from tests.conftest import CHECKPOINT, SAMPLES

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", 'header, column "question": no such column, since the file is empty'),
    "semicolons": (b"question;context;expected\na;b;c\n", "no such column among question;context;expected"),
    "twice": (b"question,question,context,expected\na,b,c,d\n", 'column "question": 2 columns have this name'),
    "short": (b"question,context,expected\na,b,c\na\n", "row 2: 1 fields where the header has 3"),
    "bare comma": (b"question,context,expected\na,b, c,d\n", "row 1: 4 fields where the header has 3"),
    "open quote": (b'question,context,expected\n"a,b,c\nd,e,f\n', "it is not a CSV in UTF-8: unexpected end of data"),
    "CP1252": ("question,context,expected\ncaf\xe9,b,c\n".encode("cp1252"), "it is not a CSV in UTF-8"),
    "UTF-16": ("question,context,expected\na,b,c\n".encode("utf-16"), "it is not a CSV in UTF-8"),
}


def calibration_rows(path: Path) -> object:
    return labelled_rows(arguments(["bundle", str(path), "--output", "new"]))


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_sound_csv_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    """A short row was a traceback of the export, and rows with a bare comma or below an open quote were passed over."""
    content, message = BROKEN[kind]
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as told:
        calibration_rows(path)
    assert str(told.value).startswith(f"{path}: ") and message in str(told.value)
    with pytest.raises(ExportError) as refused:
        read_rows(path)
    assert str(refused.value).startswith(f"{path}: ") and message in str(refused.value)


def test_quotes_line_breaks_marks_and_long_fields_are_read(tmp_path: Path) -> None:
    path, long = tmp_path / "mine.csv", "x" * 200_000
    path.write_text(f'\ufeffexpected,context,question\r\n"b ""c""","a,\nb","Who?"\r\n\r\nb,{long},Who?\r\n', "utf-8")
    assert calibration_rows(path) == {("Who?", "a,\nb"): {'b "c"'}, ("Who?", long): {"b"}}
    assert [(row.question, row.context, row.expected) for row in read_rows(path)] == [
        ("Who?", "a,\nb", ('b "c"',)),
        ("Who?", long, ("b",)),
    ]


UNASKED = [
    ("Who?", None),
    (7, "Ada."),
    ("Who?", "\u200b"),
    ("\xa0", "Ada."),
    ("half \ud83d", "Ada."),
    ("Who?", "\udc00"),
]


def squad(path: Path, asked: Sequence[tuple[object, object]], expected: object = "Ada") -> Path:
    paragraphs = [
        {"context": context, "qas": [{"question": question, "answers": [{"text": expected}]}]}
        for question, context in asked
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return path


def test_rows_that_ask_nothing_judge_no_bundle(tmp_path: Path) -> None:
    """One of them ended an export, by a traceback or with a remedy that does not help."""
    path = squad(tmp_path / "rows.json", [*UNASKED, ("Who?", "Ada.")])
    assert read_rows(path) == [Row("Who?", "Ada.", ("Ada",))]
    (tmp_path / "rows.csv").write_text("question,context\nWho?,\u2060\n\u200b,Ada.\nWho?,Ada.\n", "utf-8")
    assert read_rows(tmp_path / "rows.csv") == [Row("Who?", "Ada.", ())]
    with pytest.raises(ExportError, match="no rows to judge a bundle by"):
        read_rows(squad(path, UNASKED))
    with pytest.raises(ExportError, match="an answer's text is not text"):
        read_rows(squad(path, [("Who?", "Ada.")], None))


def test_rows_with_long_questions_are_passed_over() -> None:
    """They have an error in fp32 and in int8; the activations are measured on the others."""
    windower = Windower(Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json")), None, Decoding())
    long, short = Row("why " * 600, "Ada.", ()), Row("Who?", "Ada.", ())
    assert len(verify.spread_of_windows(windower, [long, short, long], 9)) == 1
    assert verify.observed_rows(windower, [long, short, long]).tolist() == [False, True, False]
    with pytest.raises(ExportError, match="can answer none of the rows"):
        verify.spread_of_windows(windower, [long], 9)


def test_all_samples_are_read() -> None:
    assert len(read_rows(SAMPLES)) == 206
