"""What keeps rows that are deleted, or hides them, is noticed: a row that nobody's entry owns would stay for ever."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from runtime.errors import DatabaseError
from tests.stages.test_load_remedies import COLUMNS
from tests.support.loading import execute, rows_of, run_load, versions_of, write_version
from tests.support.servers import packaged, running_server

KEEPERS = {
    "rule": "create rule keeper as on delete to question_answer do instead nothing",
    "trigger": "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;"
    "create trigger keeper before delete on question_answer for each row execute function keep()",
}
DROPS = {"rule": "drop rule keeper on question_answer", "trigger": "drop trigger keeper on question_answer"}
ENTRIES = "select file, rows::int from question_answer_file order by 1"


@pytest.fixture
def loaded(database: str, tmp_path: Path) -> Path:
    """A folder with a.csv and b.csv, which are in the table."""
    for name in ("a.csv", "b.csv"):
        write_version(tmp_path / "in" / name, "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    return tmp_path / "in"


@pytest.fixture
def account(database: str, loaded: Path) -> Iterator[str]:
    """Connection string of an account that may do everything with both tables, and owns none."""
    execute(database, "drop role if exists keeper; create role keeper login")
    execute(database, "grant all on question_answer, question_answer_file to keeper")
    yield make_conninfo(database, user="keeper")
    execute(database, "drop owned by keeper; drop role keeper")


@pytest.mark.parametrize("keeper", KEEPERS)
def test_prune_notices_rows_that_stay(database: str, loaded: Path, tmp_path: Path, keeper: str) -> None:
    """The entry stays with them, so that the next prune knows of them."""
    execute(database, KEEPERS[keeper])
    (loaded / "b.csv").unlink()
    with pytest.raises(DatabaseError, match=r"b\.csv: the rows stay in .*question_answer.* drop it"):
        run_load(database, loaded, tmp_path / "pruned", "--prune")
    assert rows_of(database, ENTRIES) == [("a.csv", 3), ("b.csv", 3)]
    execute(database, DROPS[keeper])
    assert run_load(database, loaded, tmp_path / "pruned", "--prune") == 0
    assert versions_of(database) == {"a.csv": {"old": 3}}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_a_file_whose_old_rows_stay_is_refused(database: str, loaded: Path, tmp_path: Path, keeper: str) -> None:
    """Once with fewer rows, none of which meets an old one; an entry of 0 rows would leave the others to nobody."""
    execute(database, KEEPERS[keeper])
    write_version(loaded / "a.csv", "new", 0)
    assert run_load(database, loaded, tmp_path / "out", "--on-bad-row", "file") == 0
    note = json.loads((tmp_path / "out/rejected/a.csv.json").read_text())
    assert "a trigger or a rule there keeps what is deleted" in note["reason"]
    assert rows_of(database, ENTRIES) == [("a.csv", 3), ("b.csv", 3)]
    execute(database, DROPS[keeper])
    assert run_load(database, loaded, tmp_path / "out") == 0
    assert versions_of(database) == {"b.csv": {"old": 3}}


def test_rows_deleted_by_hand_keep_no_file_back(database: str, loaded: Path, tmp_path: Path) -> None:
    execute(database, "delete from question_answer where row = 2")
    for name in ("a.csv", "b.csv"):
        write_version(loaded / name, "new", 1)
    assert run_load(database, loaded, tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"new": 1}, "b.csv": {"new": 1}}


@pytest.mark.parametrize("table", ["question_answer", "question_answer_file"])
@pytest.mark.parametrize("way", ["disable", "bypass"])
def test_row_level_security_is_refused(
    database: str, account: str, loaded: Path, tmp_path: Path, table: str, way: str
) -> None:
    """A policy hides rows from a delete in silence; each of the statements that are printed helps."""
    execute(
        database,
        f"alter table {table} enable row level security; create policy mine on {table} using (file = 'a.csv')",
    )
    (loaded / "b.csv").unlink()
    for option in ("--prune", "--pass-on-digests"):
        with pytest.raises(DatabaseError, match=f'row-level security may hide rows of "public"."{table}"') as caught:
            run_load(account, loaded, tmp_path / "pruned", option)
    owners, superusers = str(caught.value).split("owner run: ")[1].split("; or a superuser: ")
    execute(database, owners if way == "disable" else superusers)
    assert run_load(account, loaded, tmp_path / "pruned", "--prune") == 0
    assert versions_of(database) == {"a.csv": {"old": 3}}


def test_a_temporary_table_is_refused(database: str, tmp_path: Path) -> None:
    """It goes with the connection, and with it all that was loaded."""
    write_version(tmp_path / "in/a.csv", "one", 3)
    refused = pytest.raises(DatabaseError, match=r"is a temporary table, .* name a schema with --schema")
    with refused:
        run_load(database, tmp_path / "in", tmp_path / "out", PGOPTIONS="-c search_path=pg_temp")
    with refused:
        run_load(database, tmp_path / "in", tmp_path / "out", "--schema", "pg_temp")
    assert not (tmp_path / "out/a.csv").is_symlink()


@pytest.mark.parametrize("loss", ["drop table", "truncate"])
def test_a_lost_memory_is_told(
    database: str, loaded: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    """Nothing says any more that the rows of b.csv are those of a file that is gone."""
    assert "was missing" not in caplog.text
    (loaded / "b.csv").unlink()
    execute(database, f"{loss} question_answer_file")
    assert run_load(database, loaded, tmp_path / "pruned", "--prune") == 0
    assert versions_of(database) == {"a.csv": {"old": 3}, "b.csv": {"old": 3}}
    (told,) = (record.getMessage() for record in caplog.records if "was missing" in record.getMessage())
    execute(database, told.split("run: ")[1].split(";")[0])
    assert run_load(database, loaded, tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"old": 3}}


def test_a_table_that_a_crash_empties_is_named(
    database: str, loaded: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On Pachyderm the datum is done, and nothing loads its rows again. The statement that is printed helps."""
    execute(database, "alter table question_answer set unlogged")
    assert run_load(database, loaded, tmp_path / "out") == 0
    (told,) = (text for text in caplog.messages if "if the server crashes" in text)
    execute(database, told.split("to keep them: ")[1])
    caplog.clear()
    assert run_load(database, loaded, tmp_path / "out") == 0
    assert "if the server crashes" not in caplog.text


def test_names_that_differ_in_case_are_two_files(tmp_path: Path) -> None:
    """Where the collation of `file` takes them for one, loading either deletes the rows of the other."""
    for name in ("A.csv", "a.csv"):
        write_version(tmp_path / "in" / name, name, 3)
    with running_server(packaged()) as server:
        assert run_load(server.url, tmp_path / "in", tmp_path / "out", "--dry-run") == 0
        execute(
            server.url,
            "create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
            f"create table question_answer ({COLUMNS.replace('file text', 'file text collate loose')}, "
            "unique (file, row))",
        )
        with pytest.raises(DatabaseError, match=r"such as A\.csv and a\.csv, for the same") as caught:
            run_load(server.url, tmp_path / "in", tmp_path / "out")
        execute(server.url, str(caught.value).split("owner run: ")[1])
        for _ in range(2):
            assert run_load(server.url, tmp_path / "in", tmp_path / "out") == 0
            assert versions_of(server.url) == {"A.csv": {"A.csv": 3}, "a.csv": {"a.csv": 3}}
