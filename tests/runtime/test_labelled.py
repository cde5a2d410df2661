"""Labelled rows as `calibrate` and `export --evaluate` read them: what is no sound CSV is refused, with its place."""

from pathlib import Path

import pytest

from export.evaluation import read_rows
from runtime.calibrate import arguments, labelled_rows
from runtime.errors import ExportError, InputError
from tests.conftest import SAMPLES

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", 'header, column "question": no such column, since the file is empty'),
    "semicolons": (b"question;context;expected\na;b;c\n", "no such column, but question;context;expected"),
    "twice": (b"question,question,context,expected\na,b,c,d\n", 'column "question": 2 columns are called so'),
    "short": (b"question,context,expected\na,b,c\na\n", "row 2: its number of fields is 1, and 3 in the header"),
    "bare comma": (b"question,context,expected\na,b, c,d\n", "row 1: its number of fields is 4"),
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


def test_all_samples_are_read() -> None:
    assert len(read_rows(SAMPLES)) == 206
