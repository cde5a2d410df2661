"""Tables that were there before, names that bite, and accounts that may do little."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from runtime.errors import DatabaseError, OptionError
from stages.common.names import Origin
from stages.load import target_of
from stages.loading import copying
from stages.loading.arrays import integers, rows_from, texts
from stages.loading.options import arguments
from stages.loading.target import parse_columns
from tests.support.loading import execute, row_of, rows_of, run_load, versions_of, write_rows, write_version

ORIGINAL = """
    create table question_answer (
        question varchar, answer varchar, context varchar, model varchar, qa_timestamp timestamp{default}
    );
    insert into question_answer values ('q', 'a', 'c', 'm', '2021-03-04 05:06:07');
"""


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_an_array_holds_any_text(database: str, conforming: str) -> None:
    """Quotes, braces, backslashes, blanks, what stands for nothing, and the empty text."""
    odd = ["", " ", ",", '"', "'", "\\", '\\"', "{}", "null", "NULL", "a\nb", "é\U0001f600", "\\x41", "$1 %s"]
    numbers = [*range(len(odd) - 1), -(2**63)]
    with psycopg.connect(database, options=f"-c standard_conforming_strings={conforming}") as connection:
        query = sql.SQL("select * from {}").format(rows_from(texts(odd), integers(numbers)))
        assert connection.execute(query).fetchall() == list(zip(odd, numbers, strict=True))
        nothing = sql.SQL("select * from {}").format(rows_from(texts([]), integers([])))
        assert connection.execute(nothing).fetchall() == []


@pytest.mark.parametrize("default", ["", " default now()"])
def test_the_original_table_is_extended_and_keeps_its_rows(database: str, tmp_path: Path, default: str) -> None:
    execute(database, ORIGINAL.format(default=default))
    write_version(tmp_path / "in/a.csv", "one", 3)
    with pytest.raises(DatabaseError, match="--migrate") as caught:
        run_load(database, tmp_path / "in", tmp_path / "out")
    told = str(caught.value)
    for part in (
        'add column "file" text',
        'add column "extra" jsonb',
        'create unique index on "public"."question_answer"',
    ):
        assert part in told
    assert ("set default pg_catalog.now()" in told) == (not default)
    assert rows_of(
        database, "select count(*)::int from information_schema.columns where table_name = 'question_answer'"
    ) == [(5,)]
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--migrate") == 0
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    original = rows_of(
        database, "select question, answer, context, model, qa_timestamp::text from question_answer where file is null"
    )
    assert original == [("q", "a", "c", "m", "2021-03-04 05:06:07")]
    recent = "select count(*)::int from question_answer where qa_timestamp > now()::timestamp - interval '1 day'"
    assert rows_of(database, recent) == [(3,)]


def test_the_printed_statements_are_enough(database: str, tmp_path: Path) -> None:
    execute(database, ORIGINAL.format(default=""))
    write_version(tmp_path / "in/a.csv", "one", 3)
    with pytest.raises(DatabaseError) as caught:
        run_load(database, tmp_path / "in", tmp_path / "out")
    execute(database, str(caught.value).split("owner run: ")[1])
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database)["a.csv"] == {"one": 3}


def test_a_dry_run_of_a_migration_alters_nothing(database: str, tmp_path: Path) -> None:
    execute(database, ORIGINAL.format(default=""))
    write_version(tmp_path / "in/a.csv", "one", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--migrate", "--dry-run") == 0
    assert rows_of(database, "select * from question_answer")[0][0] == "q"
    assert len(rows_of(database, "select * from question_answer")[0]) == 5


def test_columns_of_the_csv_become_columns_of_the_table(database: str, tmp_path: Path) -> None:
    rows = [
        {**row_of(1), "region": "north", "price, net": "12.345", "note": "x"},
        {**row_of(2), "region": "", "price, net": "7", "note": "y"},
    ]
    write_rows(tmp_path / "in/a.csv", rows)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--columns", "region:text") == 0
    query = "select region, extra from question_answer order by row"
    assert rows_of(database, query) == [
        ("north", {"price, net": "12.345", "note": "x"}),
        ("", {"price, net": "7", "note": "y"}),
    ]
    rows = [{key.replace("price, net", "price"): value for key, value in row.items()} for row in rows]
    write_rows(tmp_path / "in/a.csv", rows)
    columns = ("--columns", "region:text,price:numeric(8, 2)")
    with pytest.raises(DatabaseError, match='add column "price" numeric'):
        run_load(database, tmp_path / "in", tmp_path / "out", *columns)
    assert run_load(database, tmp_path / "in", tmp_path / "out", *columns, "--migrate") == 0
    assert rows_of(database, "select price::text, extra from question_answer order by row") == [
        ("12.35", {"note": "x"}),
        ("7.00", {"note": "y"}),
    ]


def test_the_option_for_columns_is_checked() -> None:
    assert parse_columns("") == {}
    assert parse_columns("a:text, b c:numeric(8, 2),d:x:double precision[]") == {
        "a": "text",
        "b c": "numeric(8, 2)",
        "d:x": "double precision[]",
    }
    for wrong in ("a", "a:", ":text", "a:text;drop table x", "a:int)", "file:text", "score:text", "a:int,a:text"):
        with pytest.raises(OptionError):
            parse_columns(wrong)


def test_a_wrong_column_type_is_told_at_once(database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_version(tmp_path / "in/a.csv", "one", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    execute(database, "truncate question_answer; alter table question_answer alter question type int using 0")
    assert run_load(database, tmp_path / "in", tmp_path / "out", retry_for=600) == 1
    expected = 'a.csv: row 1, column "question": invalid input syntax for type integer: "one 0?"; correct the value'
    assert expected in caplog.text


@pytest.mark.parametrize("table", ['t"; drop table victim; --', "Select", "%s %% {}", "é😀", "a.b", " "])
def test_table_and_schema_names_are_identifiers(database: str, tmp_path: Path, table: str) -> None:
    execute(database, 'create table victim (); create schema "s\'; "".x"')
    write_version(tmp_path / "in/a.csv", "one", 2)
    options = ("--schema", "s'; \".x", "--table", table)
    for _ in range(2):
        assert run_load(database, tmp_path / "in", tmp_path / "out", *options) == 0
    found = rows_of(database, "select schemaname, tablename from pg_tables where schemaname !~ '^pg_|^information'")
    assert sorted(map(str, found)) == sorted(
        map(str, [("public", "victim"), ("s'; \".x", table), ("s'; \".x", f"{table}_file")])
    )


def statements_of_the_docs() -> str:
    """The statements for an account, out of docs/load.md."""
    text = (Path(__file__).parent.parent.parent / "docs/load.md").read_text()
    return text.split("<!-- account -->\n```sql\n")[1].split("```")[0]


@pytest.fixture
def account(database: str) -> object:
    """Connection string of an account that has what docs/load.md grants, and not the right to make anything."""
    execute(database, "revoke create on schema public from public")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"revoke temporary on database {connection.info.dbname} from public")
    execute(database, "drop role if exists answermill")
    execute(database, "create role answermill login")
    yield make_conninfo(database, user="answermill")
    execute(database, "drop owned by answermill; drop role answermill")


def test_the_account_of_the_docs_can_load_and_prune(database: str, account: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "one", 1)
    with pytest.raises(DatabaseError, match=r"permission denied for schema public.*grant it: docs/load\.md"):
        run_load(account, tmp_path / "in", tmp_path / "out", retry_for=600)
    # The owner makes the tables once; the account gets the rest.
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    with pytest.raises(DatabaseError, match="this account may not use"):
        run_load(account, tmp_path / "in", tmp_path / "out", retry_for=600)
    execute(database, statements_of_the_docs())
    write_version(tmp_path / "in/a.csv", "two", 2)
    for _ in range(2):
        assert run_load(account, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"two": 2}}
    (tmp_path / "in/a.csv").unlink()
    write_version(tmp_path / "in/b.csv", "two", 2)
    assert run_load(account, tmp_path / "in", tmp_path / "out", "--prune", "--prune-all") == 0
    assert versions_of(database) == {}


def test_an_account_without_the_memory_is_told_what_to_run(database: str, account: str, tmp_path: Path) -> None:
    """Without the memory nobody knows which rows a part replaces; the statements that are printed are enough."""
    write_version(tmp_path / "in/a.csv", "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    execute(database, "drop table question_answer_file; grant usage on schema public to answermill")
    execute(database, "grant select, insert, delete on question_answer to answermill")
    with pytest.raises(DatabaseError, match="remembers what was loaded") as caught:
        run_load(account, tmp_path / "in", tmp_path / "out")
    execute(database, str(caught.value).split("owner run: ")[1])
    for _ in range(2):
        assert run_load(account, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"one": 2}}


def test_a_table_of_an_older_version_is_recognised(database: str, tmp_path: Path) -> None:
    """Its rows have other keys; what the message says, followed to the letter, fills it anew."""
    write_version(tmp_path / "in/a.csv", "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    execute(
        database,
        "drop table question_answer_file; create table question_answer_file (file text primary key, sha256 text, "
        "bytes bigint, rows bigint, settings text, loaded_at timestamptz); "
        "update question_answer set file = 'a.csv.parts/part-00000.csv'",
    )
    with pytest.raises(DatabaseError, match="filled by an older version") as caught:
        run_load(database, tmp_path / "in", tmp_path / "out")
    script = str(caught.value).split("owner run: ")[1].removesuffix("; and load everything again")
    execute(database, script)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"one": 2}}


@pytest.mark.parametrize("table", ["", "t" * 59, "é" * 30, "x_file"])
def test_a_table_name_that_cannot_be_kept_is_refused(database: str, tmp_path: Path, table: str) -> None:
    write_version(tmp_path / "in/a.csv", "one", 1)
    if table == "x_file":
        assert run_load(database, tmp_path / "in", tmp_path / "out", "--table", "x") == 0
    with pytest.raises((OptionError, DatabaseError)):
        run_load(database, tmp_path / "in", tmp_path / "out", "--table", table)
    with pytest.raises(OptionError, match="bytes and PostgreSQL keeps 63"):
        run_load(database, tmp_path / "in", tmp_path / "out", "--columns", f"{'How satisfied? ' * 5}:text")


def test_long_names_of_columns_are_written_in_slices(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON of each row holds them all, and 2 MB of short rows took 700 MB."""
    rows = [{**row_of(number), "x" * 5_000: str(number), "y" * 5_000: ""} for number in range(9)]
    write_rows(tmp_path / "in/a.csv", rows)
    monkeypatch.setattr(copying, "_NAMES_BYTES", 20_000)
    slices = [len(block) for block in _blocks_to_copy(tmp_path / "in/a.csv", tmp_path)]
    assert len(slices) == 5 and max(slices) < 25_000
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    found = rows_of(database, f"select row, extra->>'{'x' * 5_000}' from question_answer order by row")
    assert found == [(number + 1, str(number)) for number in range(9)]


def _blocks_to_copy(path: Path, folder: Path) -> list[bytes]:
    target = target_of(arguments([str(path), str(folder / "out")]))
    with path.open("rb") as stream:
        read = copying.AnsweredCsv(path.name, Origin(path.name, 1), stream)
        copying.examine(read, target)
        return list(copying.rows_to_copy(read, target))
