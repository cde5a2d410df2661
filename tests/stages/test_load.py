import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from runtime.errors import DatabaseError
from stages.loading.failures import pauses
from stages.loading.options import arguments
from tests.support.loading import execute, row_of, rows_of, run_load, versions_of, write_rows, write_version

Stage = Callable[..., subprocess.CompletedProcess[str]]


def done(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    """The figures of the last summary."""
    found: list[dict[str, object]] = [
        record.__dict__["fields"] for record in caplog.records if hasattr(record, "fields")
    ]
    return found[-1]


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def test_files_become_rows_and_are_passed_on(stage: Stage, database: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/sub/a.csv", "one", 3)
    write_version(tmp_path / "in/b.csv", "one", 2)
    ran = stage("load", tmp_path / "in", tmp_path / "out", DATABASE_URL=database)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "files=2 unchanged=0 rows=5 inserted=5 replaced=0 deleted=0" in ran.stderr
    columns = 'file, row, question, answer, context, model, score, start, "end", error, extra'
    assert rows_of(database, f"select {columns} from question_answer order by file, row")[2] == (
        "sub/a.csv", 1, "one 0?", "one 0", "context, one 0", "one", 0.5, 9, 13, "", None,
    )  # fmt: skip
    assert (tmp_path / "out/sub/a.csv").read_bytes() == (tmp_path / "in/sub/a.csv").read_bytes()
    assert (tmp_path / "out/b.csv").is_symlink()


def test_a_rerun_touches_no_row(database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_version(tmp_path / "in/a.csv", "one", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    before = rows_of(database, "select ctid::text, xmin::text, q from question_answer q order by row")
    assert run_load(database, tmp_path / "in", tmp_path / "out2") == 0
    assert rows_of(database, "select ctid::text, xmin::text, q from question_answer q order by row") == before
    figures = done(caplog)
    assert (figures["files"], figures["unchanged"], figures["rows"], figures["inserted"]) == (1, 1, 3, 0)
    assert (tmp_path / "out2/a.csv").exists()


@pytest.mark.parametrize(("rows", "expected"), [(5, (2, 3, 0)), (2, (0, 2, 1)), (0, (0, 0, 3))])
def test_a_changed_file_replaces_its_rows(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: int, expected: tuple[int, int, int]
) -> None:
    write_version(tmp_path / "in/a.csv", "old", 3)
    write_version(tmp_path / "in/b.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    write_version(tmp_path / "in/a.csv", "new", rows)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"b.csv": {"old": 3}} | ({"a.csv": {"new": rows}} if rows else {})
    figures = done(caplog)
    assert (figures["inserted"], figures["replaced"], figures["deleted"], figures["unchanged"]) == (*expected, 1)


def test_a_file_of_the_same_size_and_other_content_is_loaded(database: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    write_version(tmp_path / "in/a.csv", "new", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"new": 3}}


@pytest.mark.parametrize("harm", ["delete from question_answer where row = 2", "truncate question_answer"])
def test_rows_that_were_deleted_by_hand_come_back(database: str, tmp_path: Path, harm: str) -> None:
    write_version(tmp_path / "in/a.csv", "one", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    execute(database, harm)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"a.csv": {"one": 3}}


def test_other_options_load_the_same_content_again(database: str, tmp_path: Path) -> None:
    rows = [{**row_of(1), "old question": "before?"}]
    write_rows(tmp_path / "in/a.csv", rows)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--question-column", "old question") == 0
    assert rows_of(database, "select question, extra from question_answer") == [("before?", {"question": "text 1?"})]


def test_keep_leaves_the_rows_of_a_changed_file(database: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    write_version(tmp_path / "in/a.csv", "new", 4)
    write_version(tmp_path / "in/b.csv", "new", 4)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-conflict", "keep") == 0
    assert versions_of(database) == {"a.csv": {"old": 3}, "b.csv": {"new": 4}}


def test_prune_deletes_the_rows_of_files_that_are_gone(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It loads nothing."""
    execute(database, "create table question_answer (question text); insert into question_answer values ('no file')")
    for name in ("a", "b"):
        write_version(tmp_path / f"in/{name}.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--migrate") == 0
    (tmp_path / "in/a.csv").unlink()
    write_version(tmp_path / "in/c.csv", "new", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--prune", "--dry-run") == 0
    assert done(caplog)["deleted"] == 3
    assert rows_of(database, "select count(*)::int from question_answer") == [(7,)]
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--prune") == 0
    assert rows_of(database, "select file, count(*)::int from question_answer group by 1 order by 1") == [
        ("b.csv", 3),
        (None, 1),
    ]
    write_version(tmp_path / "in/a.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database)["a.csv"] == {"old": 3}


def test_a_dry_run_does_everything_and_leaves_nothing(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_version(tmp_path / "in/a.csv", "one", 3)
    (tmp_path / "in/b.csv").write_text("question\nragged,row\n")
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--dry-run") == 1
    assert done(caplog)["inserted"] == 3
    assert "b.csv: " in caplog.text
    assert rows_of(database, "select count(*)::int from pg_tables where schemaname = 'public'") == [(0,)]
    assert not (tmp_path / "out").exists()


def test_a_file_that_breaks_a_rule_fails_alone(database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_version(tmp_path / "in/c.csv", "one", 1)
    (tmp_path / "in/a.csv").write_text("question,context\n1,2\n")
    write_rows(tmp_path / "in/b.csv", [row_of(1), {**row_of(2), "start": "4294967296"}])
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 1
    assert 'a.csv: header: column "answer": no such column' in caplog.text.replace("header, ", "header: ")
    assert 'b.csv: row 2, column "start": value "4294967296" is out of range for type integer' in caplog.text
    assert versions_of(database) == {"c.csv": {"one": 1}}
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["c.csv"]


def test_a_header_without_rows_empties_the_file(database: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "one", 0)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {}


@pytest.mark.parametrize("name", ["it's.csv", '"; drop table question_answer; --.csv', "a\nb.csv", "%s é😀.csv"])
def test_any_file_name_does(database: str, tmp_path: Path, name: str) -> None:
    write_version(tmp_path / "in" / name, "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {name: {"one": 2}}


def test_what_may_pass_is_tried_again_as_often_as_fits(database: str, tmp_path: Path) -> None:
    assert list(islice(pauses(), 8)) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    write_version(tmp_path / "in/a.csv", "old", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    # A real server that fails twice, with each of the codes of what may pass.
    for state in ("40001", "40P01", "55P03", "57P01", "53300", "08006"):
        _fail(database, state, times=2)
        write_version(tmp_path / "in/a.csv", f"new {state}", 2)
        assert run_load(database, tmp_path / "in", tmp_path / "out", retry_for=2) == 0
        assert versions_of(database) == {"a.csv": {f"new {state}": 2}}


@pytest.mark.parametrize("state", ["40001", "53100", "42501", "XX000", "25006"])
def test_what_does_not_pass_leaves_the_rows_as_they_were(
    database: str, tmp_path: Path, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ends."""
    write_version(tmp_path / "in/a.csv", "old", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    _fail(database, state, times=1000)
    write_version(tmp_path / "in/a.csv", "new", 2)
    with pytest.raises(DatabaseError, match=f"made to fail with {state}.*; ") as caught:
        run_load(database, tmp_path / "in", tmp_path / "out", retry_for=0.6)
    assert caplog.text.count("trying again") == (1 if state == "40001" else 0)
    assert "\n" not in str(caught.value)
    assert versions_of(database) == {"a.csv": {"old": 2}}


def test_the_time_for_one_statement_ends_one_file(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_version(tmp_path / "in/a.csv", "old", 2)
    write_version(tmp_path / "in/b.csv", "old", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    # The trigger sleeps for the file a.csv alone, and so for longer than a statement may take.
    execute(
        database,
        "create function slow() returns trigger language plpgsql as "
        "$$ begin if new.file = 'a.csv' then perform pg_sleep(30); end if; return new; end $$;"
        "create trigger slow before insert on question_answer for each row execute function slow()",
    )
    write_version(tmp_path / "in/a.csv", "new", 2)
    write_version(tmp_path / "in/b.csv", "new", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out", PGOPTIONS="-c statement_timeout=1500") == 1
    assert "a.csv: " in caplog.text
    assert "canceling statement due to statement timeout" in caplog.text
    assert "raise statement_timeout" in caplog.text
    assert versions_of(database) == {"a.csv": {"old": 2}, "b.csv": {"new": 2}}


def _fail(url: str, state: str, times: int) -> None:
    """Makes the next inserts fail. A sequence counts them: it does not roll back."""
    execute(
        url,
        f"drop sequence if exists failures; create sequence failures;"
        f"create or replace function fail() returns trigger language plpgsql as $$ begin "
        f"if nextval('failures') <= {times} then "
        f"raise exception 'made to fail with {state}' using errcode = '{state}'; end if; return new; end $$;"
        f"create or replace trigger fail before insert on question_answer for each row execute function fail()",
    )


@pytest.mark.parametrize("option", ["--retry-for", "--clock-margin"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e400", "", "a minute"])
def test_a_time_that_is_none_is_a_usage_error(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments(["in", "out", "--prune", option, value])
    assert caught.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err
