"""Tables, rights and encodings that databases in use have; what the loader says to do is done, to the letter."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from runtime.errors import DatabaseError
from tests.support.loading import execute, row_of, rows_of, run_load, versions_of, write_rows, write_version

COLUMNS = (
    "file text, row bigint, question text, answer text, context text, model text, score double precision, "
    'confidence real, start int, "end" int, error text, extra jsonb, qa_timestamp timestamptz default now()'
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_version(tmp_path / "in/a.csv", "one", 3).parent


@pytest.fixture
def encoded(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with the encoding that is the parameter."""
    name = f"test_{request.param.lower()}"
    execute(
        postgres_server,
        f"create database {name} encoding '{request.param}' locale 'C' template template0",
    )
    yield make_conninfo(postgres_server, dbname=name)
    execute(postgres_server, f"drop database {name} with (force)")


def told_to(caught: pytest.ExceptionInfo[DatabaseError]) -> str:
    return str(caught.value)


def test_a_table_partitioned_by_time_is_loaded_into(database: str, source: Path, tmp_path: Path) -> None:
    """No unique index on (file, row) is possible there, since it would have to hold the time; a plain one will do."""
    execute(
        database,
        f"create table question_answer ({COLUMNS}) partition by range (qa_timestamp);"
        "create table now_and_later partition of question_answer for values from ('2020-01-01') to (maxvalue)",
    )
    with pytest.raises(DatabaseError, match="cannot be loaded into yet") as caught:
        run_load(database, source, tmp_path / "out")
    execute(database, told_to(caught).split("owner run: ")[1])
    for text in ("one", "two"):
        write_version(source / "a.csv", text, 3)
        assert run_load(database, source, tmp_path / "out") == 0
        assert versions_of(database) == {"a.csv": {text: 3}}


def test_a_partitioned_table_migrates_too(database: str, source: Path, tmp_path: Path) -> None:
    execute(
        database,
        "create table question_answer (qa_timestamp timestamptz, question text) partition by range (qa_timestamp);"
        "create table now_and_later partition of question_answer for values from ('2020-01-01') to (maxvalue)",
    )
    assert run_load(database, source, tmp_path / "out", "--migrate") == 0
    assert versions_of(database) == {"a.csv": {"one": 3}}


@pytest.mark.parametrize("kind", ["view", "materialized view"])
def test_a_view_is_refused_with_a_way_on(database: str, source: Path, tmp_path: Path, kind: str) -> None:
    execute(database, f"create table answers ({COLUMNS}); create {kind} question_answer as select * from answers")
    for options in ((), ("--migrate",)):
        with pytest.raises(DatabaseError, match=r"is a view, .*name a table with --table") as caught:
            run_load(database, source, tmp_path / "out", *options)
    # The way on that is printed.
    assert "--table" in told_to(caught)
    assert run_load(database, source, tmp_path / "out", "--table", "answers", "--migrate") == 0
    assert versions_of(database, "answers") == {"a.csv": {"one": 3}}


def test_an_owner_who_may_not_create_is_given_the_right(database: str, source: Path, tmp_path: Path) -> None:
    """An index needs CREATE on the schema, even of the table's owner."""
    execute(
        database, "drop role if exists keeper; drop role if exists filler; create role keeper; create role filler login"
    )
    try:
        execute(
            database,
            f"revoke create on schema public from public; create table question_answer ({COLUMNS});"
            "grant usage on schema public to filler, keeper; alter table question_answer owner to keeper;"
            "grant select, insert, delete on question_answer to filler",
        )
        filler = make_conninfo(database, user="filler")
        with pytest.raises(DatabaseError, match="cannot be loaded into yet") as caught:
            run_load(filler, source, tmp_path / "out")
        match = re.search(r"let the schema's owner run: (.*); then let the table's owner run: (.*)", told_to(caught))
        assert match
        execute(database, match[1])
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("set role keeper")
            connection.execute(match[2].encode())
        with pytest.raises(DatabaseError, match="remembers what was loaded") as caught:
            run_load(filler, source, tmp_path / "out")
        execute(database, told_to(caught).split("owner run: ")[1])
        assert run_load(filler, source, tmp_path / "out") == 0
        assert versions_of(database) == {"a.csv": {"one": 3}}
    finally:
        execute(
            database, "drop owned by keeper cascade; drop owned by filler cascade; drop role keeper; drop role filler"
        )


@pytest.mark.parametrize("encoded", ["LATIN1"], indirect=True)
def test_a_character_that_the_database_lacks_is_named(encoded: str, tmp_path: Path) -> None:
    """The file is refused, and the remedy names the database's encoding; the other files are loaded."""
    source = tmp_path / "in"
    write_rows(source / "snow.csv", [row_of(1), {**row_of(2), "question": "☃?"}])
    write_rows(source / "name ☃.csv", [row_of(1)])
    write_rows(source / "café.csv", [{**row_of(1), "context": "café"}])
    assert run_load(encoded, source, tmp_path / "out", "--on-bad-row", "file") == 0
    note = json.loads((tmp_path / "out/rejected/snow.csv.json").read_text())
    assert note["row"] == 2
    assert (
        "the database's encoding is LATIN1, which has no such character; load into one whose is UTF8" in note["remedy"]
    )
    assert (tmp_path / "out/rejected/name ☃.csv.json").exists()
    assert rows_of(encoded, "select file, context from question_answer") == [("café.csv", "café")]


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
def test_a_database_that_counts_bytes_is_warned_of(
    encoded: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Text arrives as it is, but `substring` would count bytes where `start` and `end` count characters."""
    write_rows(tmp_path / "in/a.csv", [{**row_of(1), "context": "☃ café"}])
    assert run_load(encoded, tmp_path / "in", tmp_path / "out") == 0
    assert "the database's encoding is SQL_ASCII" in caplog.text
    assert rows_of(encoded, "select convert_to(context, 'SQL_ASCII') from question_answer") == [("☃ café".encode(),)]


def test_the_docs_say_how_to_cut_an_answer_out(database: str, tmp_path: Path) -> None:
    context = "e\u0301 ☃😀: the café"
    start = context.index("café")
    rows = [{**row_of(1), "context": context, "answer": "café", "start": str(start), "end": str(start + 4)}]
    write_rows(tmp_path / "in/a.csv", rows)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    docs = (Path(__file__).parent.parent.parent / "docs/load.md").read_text()
    query = docs.split("<!-- substring -->\n```sql\n")[1].split("```")[0]
    assert rows_of(database, query) == [("café",)]


def test_nothing_is_read_in_an_idle_transaction(database: str, tmp_path: Path) -> None:
    """The server ends a transaction that sends nothing for half a second; a large file takes longer to read."""
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"alter database {name} set idle_in_transaction_session_timeout = 500".encode())
    rows = [{**row_of(number, "text " * 40), "note": "aside " * 40} for number in range(60_000)]
    write_rows(tmp_path / "in/large.csv", rows)
    for number in range(100):
        write_version(tmp_path / f"in/{number}.csv", "one", 20)
    for _ in range(2):
        assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert rows_of(database, "select count(*) from question_answer") == [(62_000,)]
