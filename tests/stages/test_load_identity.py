"""A row is known by its owner's file and row; what is loaded is what one run from nothing would load."""

import json
import os
import random
import stat
from pathlib import Path

import pytest

from runtime.errors import AnswermillError, OptionError
from stages.common.files import csv_files
from stages.common.names import part_path
from stages.csvs.answered import answered_files
from stages.loading.options import arguments
from tests.conftest import Stage
from tests.support.loading import execute, row_of, rows_of, run_load, versions_of, write_rows, write_version


def cut(folder: Path, name: str, text: str, rows: int, shard_rows: int) -> None:
    """What ingest and answer leave of a file of so many rows."""
    for path in folder.rglob("*.csv"):
        if path.name == name or path.parent.name == f"{name}.parts":
            path.unlink()
    for first in range(0, max(rows, 1), shard_rows):
        part = [row_of(number, text) for number in range(first, min(first + shard_rows, rows))]
        write_rows(folder / part_path(name, first + 1), part)


def keys(database: str) -> list[tuple[object, ...]]:
    return rows_of(database, "select file, row, model, question from question_answer order by 1, 2")


@pytest.mark.parametrize("order", ["in order", "reversed", "together"])
def test_a_row_keeps_its_key_however_its_file_is_cut(database: str, tmp_path: Path, order: str) -> None:
    """Grown past a shard, shrunk below one, cut otherwise; each part by itself, as datums are, or all at once."""
    histories = [(4, 5), (12, 5), (7, 5), (12, 3), (12, 50), (2, 5), (11, 4), (0, 5), (9, 2), (9, 3)]
    for number, (rows, shard_rows) in enumerate(histories):
        cut(tmp_path / "in", "a.csv", f"v{number}", rows, shard_rows)
        parts = sorted((tmp_path / "in").rglob("*.csv"), reverse=order == "reversed")
        for part in parts if order != "together" else ():
            folder = tmp_path / f"datum{number}-{parts.index(part)}"
            target = folder / part.relative_to(tmp_path / "in")
            target.parent.mkdir(parents=True)
            target.write_bytes(part.read_bytes())
            assert run_load(database, folder, tmp_path / "out") == 0
        if order == "together":
            assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
        run_load(database, tmp_path / "in", tmp_path / "out", "--prune", "--prune-all")
        expected = [("a.csv", row + 1, f"v{number}", f"v{number} {row}?") for row in range(rows)]
        assert keys(database) == expected, (rows, shard_rows)


def test_files_cut_anew_lose_no_rows(database: str, tmp_path: Path) -> None:
    """Parts of any size after parts of any other, with what a killed ingest leaves of the old ones or without it."""
    chance = random.Random(16)
    for number in range(20):
        folder, name = tmp_path / str(number), f"{number}.csv"
        sizes = [(chance.randint(1, 12), chance.randint(1, 6)) for _ in range(3)]
        for version, (rows, shard_rows) in enumerate(sizes):
            text = chance.choice(["same", f"v{version}"])
            if chance.random() < 0.3:
                # Parts of two sizes: which of them stays for now is open, what the next run ends in is not.
                left = {path: path.read_bytes() for path in folder.rglob("*.csv")}
                cut(folder, name, text, rows, shard_rows)
                for path, content in left.items():
                    if not path.exists():
                        path.write_bytes(content)
                assert run_load(database, folder, tmp_path / f"out{number}") == 0
            cut(folder, name, text, rows, shard_rows)
            assert run_load(database, folder, tmp_path / f"out{number}") == 0
            run_load(database, folder, tmp_path / "pruned", "--prune", "--prune-all")
            expected = [(name, row + 1, text, f"{text} {row}?") for row in range(rows)]
            assert keys(database) == expected, sizes[: version + 1]


def test_names_are_those_of_the_bucket(database: str, tmp_path: Path) -> None:
    for name in ("é x*.csv", "a.csv.gz", "100%.csv", "a//b.csv", "l" * 300 + ".csv"):
        write_rows(tmp_path / "in" / part_path(name, 1), [row_of(1)])
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert {file for file, *_ in keys(database)} == {"é x*.csv", "a.csv.gz", "100%.csv", "a//b.csv", "l" * 300 + ".csv"}


def test_two_paths_of_one_file_are_refused(database: str, tmp_path: Path) -> None:
    """A folder that ingest did not write may hold both; what the message says, followed, loads both."""
    write_version(tmp_path / "in/100%25.csv", "one", 1)
    write_version(tmp_path / "in/100%.csv", "two", 1)
    with pytest.raises(AnswermillError, match=r"are both the file 100%\.csv.*--plain-names"):
        run_load(database, tmp_path / "in", tmp_path / "out")
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--plain-names") == 0
    assert versions_of(database) == {"100%25.csv": {"one": 1}, "100%.csv": {"two": 1}}


def test_a_name_that_is_not_utf8_is_loaded(database: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "one", 1)
    os.rename(os.fsencode(tmp_path / "in/a.csv"), os.fsencode(tmp_path / "in/") + b"/latin\xe9.csv")  # noqa: PTH104
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert versions_of(database) == {"latin\\xe9.csv": {"one": 1}}


def test_a_column_of_the_users_reaches_extra_under_its_own_name(database: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.csv", [{"given_answer": "gold", "given_given_answer": "twice", **row_of(1)}])
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    ((answer, extra),) = rows_of(database, "select answer, extra from question_answer")
    assert (answer, extra) == ("text 1", {"answer": "gold", "given_answer": "twice"})


def test_output_is_never_input(database: str, tmp_path: Path) -> None:
    """`load X X` made of every answered CSV a link to itself."""
    source = write_version(tmp_path / "in/a.csv", "one", 1)
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for target in ("in", "in/below", "link"):
        with pytest.raises(OptionError, match="OUTPUT"):
            run_load(database, tmp_path / "in", tmp_path / target)
    with pytest.raises(OptionError, match="OUTPUT"):
        run_load(database, source, tmp_path / "in")
    assert source.read_bytes() == before


def test_what_is_gone_is_passed_on_no_longer(database: str, tmp_path: Path) -> None:
    """Only what load itself wrote is removed."""
    for name in "ab":
        write_version(tmp_path / f"in/{name}.csv", "one", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "out/mine.txt").write_text("mine")
    (tmp_path / "in/b.csv").unlink()
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["a.csv", "mine.txt"]


@pytest.mark.parametrize("mode", ["file", "skip", "fail"])
def test_a_row_that_the_table_refuses_is_data(database: str, tmp_path: Path, mode: str) -> None:
    write_version(tmp_path / "in/a.csv", "old", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    rows = [row_of(number, "new") for number in range(6)]
    rows[1]["start"] = rows[4]["start"] = "4294967296"
    write_rows(tmp_path / "in/a.csv", rows)
    write_version(tmp_path / "in/b.csv", "new", 2)
    ended = run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", mode)
    versions = versions_of(database)
    assert versions.pop("b.csv") == {"new": 2}
    note = tmp_path / "out/rejected/a.csv.json"
    if mode == "fail":
        assert (ended, versions, note.exists()) == (1, {"a.csv": {"old": 3}}, False)
        return
    assert ended == 0
    assert versions == {"a.csv": {"old": 3} if mode == "file" else {"new": 4}}
    told = json.loads(note.read_text())
    assert (told["row"], told["column"]) == (2, "start")
    assert "out of range" in told["reason"] and told["remedy"]
    assert [row["row"] for row in told["rows"]] == ([2] if mode == "file" else [2, 5])
    if mode == "skip":
        assert [row for _, row, *_ in keys(database)][:4] == [1, 3, 4, 6]
    write_version(tmp_path / "in/a.csv", "good", 3)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", mode) == 0
    assert not note.exists() and versions_of(database)["a.csv"] == {"good": 3}


@pytest.mark.parametrize("kind", ["deferred", "regclass"])
def test_a_late_error_belongs_to_its_file(
    database: str, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A deferred constraint speaks at COMMIT, an unknown name in a class of its own; the other files go on."""
    write_version(tmp_path / "in/good.csv", "one", 1)
    options = []
    if kind == "deferred":
        assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
        execute(
            database,
            "create table allowed (model text primary key); insert into allowed values ('one'), ('two'); alter table "
            "question_answer add foreign key (model) references allowed deferrable initially deferred",
        )
        write_version(tmp_path / "in/bad.csv", "forbidden", 1)
    else:
        options = ["--columns", "rank:regclass"]
        write_rows(tmp_path / "in/good.csv", [{**row_of(1, "one"), "rank": "pg_class"}])
        write_rows(tmp_path / "in/bad.csv", [{**row_of(1, "one"), "rank": "nosuchtable"}])
    for number in range(3):
        write_version(tmp_path / f"in/more{number}.csv", "two", 1) if kind == "deferred" else None
    assert run_load(database, tmp_path / "in", tmp_path / "out", *options) == 1
    assert "bad.csv: " in caplog.text
    assert "good.csv" in versions_of(database) and "bad.csv" not in versions_of(database)
    assert kind != "deferred" or versions_of(database)["more2.csv"] == {"two": 1}


@pytest.mark.parametrize("kind", ["trigger", "constraint trigger"])
def test_a_trigger_may_raise_any_sqlstate(database: str, tmp_path: Path, kind: str) -> None:
    """Of its own, or of PostgreSQL's: it refuses a row, and holds up no other file; at once or at COMMIT."""
    states = ["QA001", "45000", "P0004", "21000", "38000", "02000", "A0B1C"]
    write_version(tmp_path / "in/good.csv", "one", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    when = "before insert" if kind == "trigger" else "after insert"
    how = "" if kind == "trigger" else "deferrable initially deferred"
    execute(
        database,
        "create function refuse() returns trigger language plpgsql as $$ begin if new.model <> 'one' then "
        "raise exception 'refused' using errcode = new.model; end if; return new; end $$;"
        f"create {kind} refuse {when} on question_answer {how} for each row execute function refuse()",
    )
    for state in states:
        write_version(tmp_path / f"in/{state}.csv", state, 1)
    write_version(tmp_path / "in/more.csv", "one", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 0
    assert {*versions_of(database)} == {"good.csv", "more.csv"}
    assert {path.name for path in (tmp_path / "out/rejected").iterdir()} == {f"{state}.csv.json" for state in states}


@pytest.mark.parametrize("name", ["n" * 251 + ".csv", "é" * 125 + "x.csv", "a\n\x1b.csv"])
def test_a_long_name_has_room_for_its_note(database: str, tmp_path: Path, name: str) -> None:
    """A file system holds 255 bytes, and `.json` are five more: one such file ended the run for all."""
    write_rows(tmp_path / "in" / name, [{**row_of(1, "bad"), "score": "many"}])
    write_version(tmp_path / "in/z.csv", "one", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 0
    assert versions_of(database) == {"z.csv": {"one": 1}}
    (note,) = (tmp_path / "out/rejected").rglob("*.json")
    assert json.loads(note.read_bytes())["row"] == 1
    write_version(tmp_path / "in" / name, "good", 1)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 0
    assert versions_of(database) == {"z.csv": {"one": 1}, name: {"good": 1}}
    assert not note.exists()


def test_only_regular_files_are_read(database: str, tmp_path: Path, stage: Stage) -> None:
    """A pipe hung the stage, a dangling link took all other files with it."""
    write_version(tmp_path / "in/a.csv", "one", 1)
    os.mkfifo(tmp_path / "in/pipe.csv")
    os.mknod(tmp_path / "in/socket.csv", stat.S_IFSOCK | 0o600)
    (tmp_path / "in/zero.csv").symlink_to("/dev/zero")
    (tmp_path / "in/gone.csv").symlink_to(tmp_path / "nowhere")
    done = stage("load", tmp_path / "in", tmp_path / "out", DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert versions_of(database) == {"a.csv": {"one": 1}}
    assert {path.name for path in (tmp_path / "out/rejected").iterdir()} == {
        "pipe.csv.json",
        "socket.csv.json",
        "zero.csv.json",
        "gone.csv.json",
    }


def test_a_trap_in_the_search_path_is_never_called(database: str, tmp_path: Path) -> None:
    """CVE-2018-1058: whoever may create in `public` puts functions there that fit better than PostgreSQL's."""
    traps = {
        "hashtextextended": ["text, int", "text, bigint"],
        "pg_advisory_xact_lock": ["bigint", "int"],
        "to_regclass": ["text", "cstring"],
        "has_table_privilege": ["text, text", "name, text"],
        "unnest": ["text[]"],
        "now": [""],
        "clock_timestamp": [""],
        "current_schema": [""],
        "count": [],
    }
    script = [
        "create table loot (name text); alter database {} set search_path = public, pg_catalog".format(
            database.split("dbname=")[1].split()[0].split("'")[0]
        )
    ]
    for name, signatures in traps.items():
        for signature in signatures:
            script.append(
                f"create function public.{name}({signature}) returns text language plpgsql as "
                f"$$ begin insert into public.loot values ('{name}({signature})'); return null; end $$"
            )
    for statement in script:
        try:
            execute(database, statement)
        except Exception as error:
            # An argument type that cannot be used in plpgsql sets no trap.
            if "cstring" not in statement:
                raise AssertionError(statement) from error
    write_version(tmp_path / "in/a.csv", "one", 2)
    write_version(tmp_path / "in/b.csv", "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "in/b.csv").unlink()
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--prune") == 0
    assert rows_of(database, "select name from public.loot") == []
    assert versions_of(database) == {"a.csv": {"one": 2}}


def test_options_that_make_no_sense_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_version(tmp_path / "in/a.csv", "one", 1)
    for words in ([str(source), "out", "--prune"], ["in", "out", "--prune-all"], ["in", "out", "--listing", "x"]):
        with pytest.raises(SystemExit) as ended:
            arguments(words)
        assert ended.value.code == 2
        assert "--prune" in capsys.readouterr().err


def test_a_schema_in_front_of_the_table_is_told(database: str, tmp_path: Path) -> None:
    """`--table s.t` made a table of that whole name somewhere else. The remedies work to the letter."""
    execute(database, "create schema s")
    write_version(tmp_path / "in/a.csv", "one", 1)
    with pytest.raises(OptionError, match=r'"s\.t" has a dot.*say --schema s --table t; .* --schema, too'):
        run_load(database, tmp_path / "in", tmp_path / "out", "--table", "s.t")
    assert not (tmp_path / "out").exists()
    for number, words in enumerate((("--schema", "s", "--table", "t"), ("--schema", "public", "--table", "s.t"))):
        assert run_load(database, tmp_path / "in", tmp_path / f"out{number}", *words) == 0
    assert rows_of(database, 'select (select count(*) from s.t), (select count(*) from "s.t")') == [(1, 1)]


def test_a_part_given_by_itself_is_its_owners(database: str, tmp_path: Path) -> None:
    """However INPUT is cut, no row is loaded a second time under a part's own name."""
    tree = tmp_path / "in"
    paths = ["a.csv", *(part_path(name, first) for name in ("a.csv", "d/b.csv") for first in (4, 7)), "d/b.csv"]
    for path in paths:
        write_version(tree / path, "one", 3)
    assert run_load(database, tree, tmp_path / "out") == 0
    whole = versions_of(database)
    assert set(whole) == {"a.csv", "d/b.csv"}
    given = [tree / path for path in (*paths, "a.csv.parts") if path.startswith("a.csv")]
    for number, source in enumerate(given):
        assert run_load(database, source, tmp_path / f"out-{number}") == 0
        assert versions_of(database) == whole
        assert {*csv_files(tmp_path / f"out-{number}")} <= set(paths)


def test_a_users_own_folder_of_parts_keeps_its_names(tmp_path: Path) -> None:
    """Two files of it, alike but for their folders, are not taken for one."""
    source = tmp_path / "mine.parts"
    names = ["a.csv", "row-0000000005.csv", "x/a.csv", "y/a.csv"]
    for name in names:
        write_version(source / name, "one", 1)
    expected = {"a.csv", "x/a.csv", "y/a.csv", "mine.parts/row-0000000005.csv"}
    assert {*csv_files(source)} == expected
    assert {name for parts in answered_files(source).values() for name in parts} == expected


def test_a_note_counts_the_rows_of_the_object(database: str, tmp_path: Path) -> None:
    """Its owner knows no parts. The log names the part, with the row in it."""
    rows = [row_of(number) for number in (3, 4, 5)]
    rows[1]["start"] = "4294967296"
    write_rows(tmp_path / "in/a.csv.parts/row-0000000003.csv", rows)
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 0
    note = json.loads((tmp_path / "out/rejected/a.csv.parts/row-0000000003.csv.json").read_text())
    assert (note["object"], note["row"], [row["row"] for row in note["rows"]]) == ("a.csv", 4, [4])


def test_several_answers_to_a_row_are_refused(database: str, tmp_path: Path) -> None:
    """Those of --top-k got the numbers of other rows, and took the places of the next part's, with exit 0."""
    names = [*row_of(1)]
    header = [*names[:2], "rank", *names[2:]]

    def write(path: str, ranks: list[tuple[int, str]]) -> None:
        rows = [{**row_of(number), "rank": rank} for number, rank in ranks]
        write_rows(tmp_path / "in" / path, [{name: row[name] for name in header} for row in rows])

    write("ranks.csv", [(1, "1"), (1, "2"), (2, "1"), (2, "2")])
    write("ranks.csv.parts/row-0000000003.csv", [(3, "1"), (4, "1"), (4, "2")])
    # A user's own column, whatever it holds.
    write("own.csv", [(1, "1"), (2, "2"), (3, "first"), (3, ""), (3, "7"), (3, "7")])
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "file") == 0
    assert [(file, row) for file, row, *_ in keys(database)] == [("own.csv", row) for row in range(1, 7)]
    notes = {path.name: json.loads(path.read_text()) for path in (tmp_path / "out/rejected").rglob("*.json")}
    assert {name: note["row"] for name, note in notes.items()} == {"ranks.csv.json": 2, "row-0000000003.csv.json": 5}
    assert all(note["remedy"] == "answer it again without --top-k" for note in notes.values())


def test_rows_behind_a_skipped_one_are_the_files_too(database: str, tmp_path: Path) -> None:
    """They stayed in the table when the part was gone; and the note of a last row that is skipped, for one run only."""
    assert run_load(database, write_rows(tmp_path / "none/a.csv", []), tmp_path / "none-out") == 0
    execute(database, "alter table question_answer add check (question not like 'bad%')")
    for path, rows in {"a.csv": [1, 2, 3], "a.csv.parts/row-0000000004.csv": [4, 5, 6], "b.csv": [7]}.items():
        write_rows(tmp_path / "in" / path, [row_of(row, "bad" if row in (3, 4) else "ok") for row in rows])
    notes = tmp_path / "out/rejected"
    for _ in range(3):
        assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "skip") == 0
        assert [path.name for path in sorted(notes.rglob("*.json"))] == ["a.csv.json", "row-0000000004.csv.json"]
        assert [row for _, row, *_ in keys(database)] == [1, 2, 5, 6, 1]
    (tmp_path / "in/a.csv.parts/row-0000000004.csv").unlink()
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--on-bad-row", "skip") == 0
    assert run_load(database, tmp_path / "in", tmp_path / "out", "--prune") == 0
    assert [(file, row) for file, row, *_ in keys(database)] == [("a.csv", 1), ("a.csv", 2), ("b.csv", 1)]
