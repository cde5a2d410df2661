"""`load --batch-datums` against a server that plays Pachyderm's worker."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loading import execute, row_of, versions_of, write_rows
from tests.support.worker import BREAKS, Worker, batching, ended, run_set, worker


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Worker]:
    with worker(tmp_path / "pfs") as serving:
        yield serving


def version(tmp_path: Path, text: str, **change: str) -> bytes:
    return write_rows(
        tmp_path / "version.csv", [{**row_of(number, text), **change} for number in range(2)]
    ).read_bytes()


def backends(url: str) -> str:
    """Makes each inserted row's model say which backend inserted it."""
    execute(
        url,
        "create function say() returns trigger language plpgsql as $$ begin "
        "new.model := pg_backend_pid()::text; return new; end $$;"
        "create trigger say before insert on question_answer for each row execute function say()",
    )
    return url


def test_many_datums_on_one_connection(pod: Worker, database: str, tmp_path: Path) -> None:
    with batching("load", pod, DATABASE_URL=database) as process:
        assert pod.calls.get(timeout=60) == ""
        for number in range(4):
            out = pod.hand_out(f"datum-{number}", {f"d/{number}.csv": version(tmp_path, f"v{number}")})
            assert pod.calls.get(timeout=60) == ""
            assert [path.name for path in out.rglob("*") if not path.is_dir()] == [f"{number}.csv"]
            pod.take_away()
            if not number:
                backends(database)
        process.kill()
        assert ended(process).count("load: done files=1 ") == 4
    versions = versions_of(database)
    assert versions.pop("d/0.csv") == {"v0": 2}
    assert len({model for models in versions.values() for model in models}) == 1


def test_a_bad_csv_does_not_fail_its_datum(pod: Worker, database: str, tmp_path: Path) -> None:
    with batching("load", pod, DATABASE_URL=database):
        assert pod.calls.get(timeout=60) == ""
        files = {"a.csv": version(tmp_path, "new", score="high"), "b.csv": version(tmp_path, "new")}
        out = pod.hand_out("bad", files)
        assert pod.calls.get(timeout=60) == ""
        note = json.loads((out / "rejected/a.csv.json").read_text())
        assert (note["row"], note["column"]) == (1, "score")
        assert versions_of(database) == {"b.csv": {"new": 2}}


def test_a_database_that_comes_back_is_reported_and_used(pod: Worker, database: str, tmp_path: Path) -> None:
    """The environment's fault is that datum's error; the process takes the datum when it is handed out again."""
    content = version(tmp_path, "new")
    with batching("load", pod, "--retry-for", "0", DATABASE_URL=database):
        assert pod.calls.get(timeout=60) == ""
        pod.hand_out("first", {"a.csv": content})
        assert pod.calls.get(timeout=60) == ""
        pod.take_away()
        execute(database, "alter table question_answer rename to gone; create view question_answer as select 1 as x")
        pod.hand_out("second", {"b.csv": content})
        assert pod.calls.get(timeout=60) != ""
        pod.take_away()
        execute(database, "drop view question_answer; alter table gone rename to question_answer")
        pod.hand_out("third", {"b.csv": content})
        assert pod.calls.get(timeout=60) == ""
    assert versions_of(database) == {"a.csv": {"new": 2}, "b.csv": {"new": 2}}


@pytest.mark.parametrize(
    "change",
    [
        "drop table question_answer, question_answer_file",
        "drop table question_answer_file",
        "alter table question_answer drop column extra",
    ],
)
def test_a_table_altered_between_datums_is_made_ready(pod: Worker, database: str, tmp_path: Path, change: str) -> None:
    """The table is checked once, not for each datum; one that is no longer as it was is checked again."""
    content = version(tmp_path, "new")
    with batching("load", pod, "--migrate", DATABASE_URL=database):
        assert pod.calls.get(timeout=60) == ""
        pod.hand_out("first", {"a.csv": content})
        assert pod.calls.get(timeout=60) == ""
        pod.take_away()
        execute(database, change)
        pod.hand_out("second", {"b.csv": content})
        assert pod.calls.get(timeout=60) == ""
    assert versions_of(database)["b.csv"] == {"new": 2}


@pytest.mark.parametrize("options", [("--prune",), ("--table", ""), ("--no-such-option",), ("--columns", "x")])
def test_bad_options_are_reported_as_the_datums_error(pod: Worker, database: str, options: tuple[str, ...]) -> None:
    """A process that ends before it has asked would make the worker count datums as processed."""
    with batching("load", pod, *options, DATABASE_URL=database) as process:
        assert pod.calls.get(timeout=60) == ""
        pod.hand_out("one", {"a.csv": b"x\n"})
        assert pod.calls.get(timeout=60) != ""
        assert process.poll() is None


def check_nothing_lost(folder: Path, database: str, monkeypatch: pytest.MonkeyPatch, broken: dict[int, str]) -> None:
    """Every datum was processed, passed on and is in the table."""
    monkeypatch.setenv("DATABASE_URL", database)
    datums = {f"{number}.csv": version(folder, f"v{number}") for number in range(3)}
    done = run_set(folder, ["load"], datums, broken)
    assert done.outputs == {name: {name: content} for name, content in datums.items()}, done.log
    assert versions_of(database) == {f"{number}.csv": {f"v{number}": 2} for number in range(3)}


@pytest.mark.parametrize(
    "broken",
    [{1: "raise@2"}, {1: "kill@25"}, {1: "raise@200"}, {1: "killafter@30", 2: "raise@10"}, {1: "killafter@400"}],
    ids=str,
)
def test_a_loader_broken_at_any_line_loses_nothing(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, broken: dict[int, str]
) -> None:
    check_nothing_lost(tmp_path, database, monkeypatch, broken)


@pytest.mark.faults
@pytest.mark.parametrize(
    "broken",
    [
        *({1: f"{way}@{at}"} for way in ("raise", "kill") for at in BREAKS),
        *({1: "killafter@30", 2: f"{way}@{at}"} for way in ("raise", "killafter") for at in BREAKS),
    ],
    ids=str,
)
def test_a_loader_broken_at_every_line_loses_nothing(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, broken: dict[int, str]
) -> None:
    check_nothing_lost(tmp_path, database, monkeypatch, broken)
