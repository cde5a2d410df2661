"""Whatever text PostgreSQL can hold arrives exactly, on every version of the server that is here."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from runtime.errors import InputError
from stages.common.names import Origin
from stages.load import target_of
from stages.loading.copying import AnsweredCsv, examine
from stages.loading.options import arguments
from stages.loading.ready import make_ready
from stages.loading.table import TableLoader, input_error
from tests.support.loading import execute, row_of, rows_of, run_load, versions_of, write_rows, write_version
from tests.support.servers import running_server, version, versions

TEXTS = [
    "\\.",
    "one\n\\.\nthree",
    "\\.\n",
    "\n\\.",
    "\\N",
    "NULL",
    "null",
    "NaN",
    "",
    " ",
    " both ends ",
    "CRLF\r\nin it",
    "lone \r return",
    "\n",
    'quotes "in" it',
    '"',
    '""',
    "comma, and ; and \t tab",
    "back\\slash \\n \\t \\x41 \\\\",
    "emoji 😀 and 👩‍👩‍👧 and e\u0301",
    "right to left: שלום عليكم",
    "separators \u2028 \u2029 \u0085 \x0b \x0c",
    "controls \x01 \x1f \x7f",
    "no character: \uffff \U0010ffff, byte order mark: \ufeff",
    "{\"json\": [1, null, \"\\u0000\"]}",
    "$1 %s :name ; drop table question_answer; --",
    "x" * 300_000,
]  # fmt: skip


@pytest.fixture(scope="module", params=versions())
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_server(request.param) as server:
        number = rows_of(server.url, "show server_version_num")[0][0]
        assert str(number).startswith(version(request.param))
        yield server.url


@pytest.fixture
def fresh(server_url: str) -> str:
    execute(server_url, "drop table if exists question_answer, question_answer_file")
    return server_url


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_text_arrives_exactly_where_all_columns_have_a_place(fresh: str, tmp_path: Path, line_end: str) -> None:
    # Their bytes are passed on as they are; the order of the columns is the file's.
    source = tmp_path / "a.csv"
    header = "context,question,answer,score,confidence,start,end,error,model"
    lines = ['"' + text.replace('"', '""') + '",,\\.,0.5,,,1,NULL,"\\."' for text in TEXTS]
    source.write_bytes((line_end.join([header, *lines[:5], "", *lines[5:]]) + line_end * 2).encode())
    assert run_load(fresh, source, tmp_path / "out") == 0
    rest = 'question, answer, score, start, "end", error, model, extra'
    found = rows_of(fresh, f"select row, context, {rest} from question_answer order by row")
    for number, (text, row) in enumerate(zip(TEXTS, found, strict=True), 1):
        assert row == (number, text, None, "\\.", 0.5, None, 1, "NULL", "\\.", None)


def test_text_arrives_exactly_in_columns_and_in_extra(fresh: str, tmp_path: Path) -> None:
    rows = [{**row_of(number), "context": text, "note": text, "größe \"'": text} for number, text in enumerate(TEXTS)]
    source = write_rows(tmp_path / "in/a.csv", rows)
    assert run_load(fresh, source, tmp_path / "out") == 0
    found = rows_of(fresh, "select context, extra from question_answer order by row")
    for text, (context, extra) in zip(TEXTS, found, strict=True):
        assert context == text
        assert extra == {"note": text, "größe \"'": text}


def test_empty_text_and_a_missing_value_stay_apart(fresh: str, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(
        'question,context,answer,score,confidence,start,end,error,model,note\n"",,"","0.5",,,"1",,"",""\n'
    )
    assert run_load(fresh, source, tmp_path / "out") == 0
    columns = 'question, context, answer, score, start, "end", error, model, extra'
    assert rows_of(fresh, f"select {columns} from question_answer") == [
        ("", None, "", 0.5, None, 1, None, "", {"note": ""})
    ]


def test_a_line_that_would_end_copy_data_does_not(fresh: str, tmp_path: Path) -> None:
    # Before 18 the server looks for it, alone on a line, in CSV too.
    rows = [{**row_of(1), "question": "\\.", "context": "a\n\\.\nb", "answer": "\\.\n\\."}, row_of(2)]
    source = write_rows(tmp_path / "a.csv", rows)
    assert run_load(fresh, source, tmp_path / "out") == 0
    assert rows_of(fresh, "select question, context, answer from question_answer order by row") == [
        ("\\.", "a\n\\.\nb", "\\.\n\\."),
        ("text 2?", "context, text 2", "text 2"),
    ]


def test_nul_is_refused_by_row(fresh: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the file is sent, and the other files are loaded."""
    for name in ("a", "b", "c"):
        write_version(tmp_path / f"in/{name}.csv", "old", 5)
    assert run_load(fresh, tmp_path / "in", tmp_path / "out") == 0
    rows = [row_of(0, "new"), {**row_of(1, "new"), "context": "zero \0 byte"}, row_of(2, "new")]
    write_rows(tmp_path / "in/b.csv", rows)
    write_version(tmp_path / "in/c.csv", "new", 5)
    assert run_load(fresh, tmp_path / "in", tmp_path / "out") == 1
    assert "b.csv: row 2: a NUL byte at offset" in caplog.text
    assert "remove it: PostgreSQL cannot store it" in caplog.text
    assert versions_of(fresh) == {"a.csv": {"old": 5}, "b.csv": {"old": 5}, "c.csv": {"new": 5}}


def test_a_refused_value_is_named_by_row_and_column(fresh: str, tmp_path: Path) -> None:
    # Line breaks in the rows before, the first one too, move the line that the server speaks of.
    rows = [{**row_of(number), "context": "a\nb" * 500, "question": "\n" * (number % 7)} for number in range(6_000)]
    rows[5_000]["score"] = "high" * 100_000
    source = write_rows(tmp_path / "a.csv", rows)
    with pytest.raises(InputError) as caught:
        _load_one(fresh, source)
    error = caught.value
    assert (error.row, error.column) == (5_001, "score")
    assert error.reason.startswith('invalid input syntax for type double precision: "highhigh')
    assert len(str(error)) < 1000


@pytest.mark.parametrize("extra", ["", ",note"])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"q,c,a,0.5,0.75,1,2,,m\xff", "row 2: not UTF-8 at byte offset"),
        (b"q,c,a,0.5,0.75,1,2,,m,x,x\nq,c", "row 2: "),
        (b"q,c,a,0.5,0.75,1,2\nq,c,a,0.5,0.75,1,2,,m,x,x", "row 2: 7 fields where the header has "),
        (b'q,c,a,0.5,0.75,1,2,,"m', "row 2: a quote that opens in this row never closes"),
    ],
)
def test_a_broken_row_is_named(
    fresh: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, extra: str, row: bytes, reason: str
) -> None:
    end = b",x\n" if extra else b"\n"
    good = b"q,c,a,0.5,0.75,1,2,,m" + end
    header = f"question,context,answer,score,confidence,start,end,error,model{extra}\n".encode()
    (tmp_path / "a.csv").write_bytes(header + good + row + end + good)
    assert run_load(fresh, tmp_path / "a.csv", tmp_path / "out") == 1
    assert f"a.csv: {reason}" in caplog.text
    assert versions_of(fresh) == {}


def test_json_keeps_what_json_can_hold(fresh: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.csv", [{**row_of(1), 'a "b"\\c': "1", "": "2", "😀": "3"}])
    assert run_load(fresh, source, tmp_path / "out") == 0
    ((text,),) = rows_of(fresh, "select extra::text from question_answer")
    assert json.loads(str(text)) == {'a "b"\\c': "1", "": "2", "😀": "3"}


def _load_one(url: str, source: Path) -> None:
    target = target_of(arguments([str(source), "out"]))
    with psycopg.connect(url) as connection, source.open("rb") as stream:
        target = make_ready(connection, target, migrate=False)
        csv = AnsweredCsv(source.name, Origin(source.name, 1), stream)
        examine(csv, target)
        try:
            TableLoader(connection, target).load([csv], lambda: None, lambda _: None)
        except psycopg.Error as error:
            raise input_error(error, csv, target, "UTF8") from error


@pytest.mark.parametrize("extra", ["", ",id"])
def test_small_files_together_are_loaded_as_alone(fresh: str, tmp_path: Path, extra: str) -> None:
    """What is odd in one of the files that share a transaction changes nothing in those beside it."""
    header = f"question,context,answer,score,confidence,start,end,error,model{extra}\n".encode()
    end = b",x" if extra else b""
    row = b"q,c,a,0.5,0.75,1,2,,m" + end
    contents = {
        "blank": header + row + b"\n\n" + row + b"\n",
        "crlf": header.replace(b"\n", b"\r\n") + row + b"\r\n",
        "empty": b"",
        "few": header + row.replace(b"q,", b"") + b"\n",
        "header": header,
        "many": header + b"".join(row.replace(b"q", b"%d" % number) + b"\n" for number in range(50)),
        "more": header + row + b",y\n",
        "no end": header + row,
        "null": header + row.replace(b"q", b"\0") + b"\n",
        "open": header + b'"' + row + b"\n",
        "open too": header + b'"' + row + b"\n",
        "order": header.replace(b"question,context", b"context,question") + row + b"\n",
        "quotes": header + row.replace(b"q", b'"q ""1"",\n2"') + b"\n",
        "range": header + row + b"\n" + row.replace(b",2,", b",4294967296,") + b"\n",
        "utf8": header + row.replace(b"q", b"\xff") + b"\n",
    }
    for name, content in contents.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{name}.csv").write_bytes(content)
    options = ("--on-bad-row", "file")
    for name in contents:
        alone = run_load(fresh, tmp_path / f"in/{name}.csv", tmp_path / "alone" / name, *options, "--table", "alone")
        assert alone == 0
    assert run_load(fresh, tmp_path / "in", tmp_path / "out", *options) == 0
    columns = 'file, row, question, context, answer, score, start, "end", error, model, extra'
    query = f"select {columns} from {{}} order by file, row"
    assert rows_of(fresh, query.format("question_answer")) == rows_of(fresh, query.format("alone"))
    assert {str(file) for file, *_ in rows_of(fresh, "select file from question_answer_file")} == {
        f"{name}.csv" for name in ("blank", "crlf", "header", "many", "no end", "order", "quotes")
    }
    for note in (tmp_path / "out/rejected").iterdir():
        assert json.loads(note.read_text()) == json.loads(
            (tmp_path / "alone" / note.name.removesuffix(".csv.json") / "rejected" / note.name).read_text()
        )


def test_rows_that_a_trigger_keeps_out_are_told(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have put them elsewhere, as old partitions are made; or nowhere, and load said that all was well."""
    write_version(tmp_path / "in/a.csv", "old", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    execute(
        database,
        "create function drop_odd() returns trigger language plpgsql as "
        "$$ begin if new.row % 2 = 1 then return null; end if; return new; end $$;"
        "create trigger drop_odd before insert on question_answer for each row execute function drop_odd()",
    )
    write_version(tmp_path / "in/b.csv", "new", 5)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert "b.csv: triggers kept 3 of 5 rows out of the table question_answer" in caplog.text
