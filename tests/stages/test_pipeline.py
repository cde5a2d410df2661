"""The whole way: samples through ingest, answer and load; and the plain mistakes of users."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from stages.common.mirror import Mirror
from stages.csvs.columns import ANSWER_COLUMNS
from tests.conftest import ROOT, SAMPLES, Stage


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, int8_bundle: Path) -> Path:
    """The samples after ingest and answer, in folders of these names."""
    root = tmp_path_factory.mktemp("pipeline")
    for name, arguments in (
        ("ingest", [SAMPLES, root / "ingest"]),
        ("answer", [root / "ingest", root / "answer", "--model", int8_bundle]),
    ):
        command = [sys.executable, "-m", f"stages.{name}", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    return root


BROKEN = {
    "duplicate-header": (0, "question", "the header names it twice"),
    "empty": (None, None, "no header: the file is empty"),
    "missing-context": (0, "context", 'no such column among "id", "question", "passage"'),
    "not-utf8": (2, None, "not UTF-8 at byte offset 244"),
    "ragged-row": (3, None, "4 fields where the header has 3"),
    "unclosed-quote": (2, None, "a quote that opens in this row never closes"),
}


def test_every_broken_sample_is_refused_with_reason_and_row(answered: Path) -> None:
    notes = {path.name: json.loads(path.read_text()) for path in answered.glob("ingest/rejected/broken/*")}
    assert set(notes) == {f"{path.name}.json" for path in SAMPLES.glob("broken/*")}
    for name, (row, column, reason) in BROKEN.items():
        note = notes[f"{name}.csv.json"]
        assert (note["object"], note["row"], note["column"]) == (f"broken/{name}.csv", row, column)
        assert note["reason"] == reason
        assert note["remedy"]


def test_every_sound_sample_keeps_its_rows_and_text(answered: Path) -> None:
    sources = {path.relative_to(SAMPLES) for path in SAMPLES.rglob("*.csv") if path.parent.name != "broken"}
    assert {path.relative_to(answered / "answer") for path in answered.rglob("answer/**/*.csv")} == sources
    for name in sources:
        for before, after in zip(read(SAMPLES / name), read(answered / "answer" / name), strict=True):
            added = set(after) - set(before)
            assert added == {"answer", "score", "confidence", "start", "end", "error", "model"}
            assert {column: after[column] for column in before} == before


def test_loaded_rows_are_those_of_the_files(answered: Path, database: str, stage: Stage, tmp_path: Path) -> None:
    done = stage("load", answered / "answer", tmp_path / "loaded", DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(database) as connection:
        rows = connection.execute("select file, row, question, context, answer, extra from question_answer").fetchall()
    found = {(file, row): (question, context, answer, extra) for file, row, question, context, answer, extra in rows}
    wanted = {}
    for path in (answered / "answer").rglob("*.csv"):
        for number, row in enumerate(read(path), 1):
            extra = set(row) - {"question", "context", *ANSWER_COLUMNS}
            wanted[path.relative_to(answered / "answer").as_posix(), number] = (
                row["question"] or None,
                row["context"] or None,
                None if row["error"] else row["answer"],
                {name: row[name] or None for name in extra},
            )
    assert found == wanted
    links = list((tmp_path / "loaded").rglob("*.csv"))
    assert len(links) == 8
    assert all(path.is_symlink() and path.read_bytes() for path in links)


def test_loading_again_changes_nothing(answered: Path, database: str, stage: Stage, tmp_path: Path) -> None:
    query = "select file, row, answer, score from question_answer order by 1, 2"
    states = []
    for _ in range(2):
        assert stage("load", answered / "answer", tmp_path / "loaded", DATABASE_URL=database).returncode == 0
        with psycopg.connect(database) as connection:
            states.append(connection.execute(query).fetchall())
    assert states[0] == states[1]
    assert len(states[0]) > 200


def test_answers_are_the_same_bytes_when_run_again(
    answered: Path, stage: Stage, tmp_path: Path, int8_bundle: Path
) -> None:
    done = stage("answer", answered / "ingest/news.csv", tmp_path, "--model", int8_bundle, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "news.csv").read_bytes() == (answered / "answer/news.csv").read_bytes()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed stage said, which is one line and no traceback."""
    assert done.returncode == 1, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if " done " not in line and "files failed" not in line)
    return line


def test_missing_input_is_named(stage: Stage, tmp_path: Path) -> None:
    for name in ("ingest", "answer", "load"):
        assert "none: no such file or folder" in one_line(stage(name, tmp_path / "none", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_missing_bundle_is_named(stage: Stage, tmp_path: Path) -> None:
    line = one_line(stage("answer", SAMPLES / "news.csv", tmp_path, "--model", tmp_path / "none"))
    model = tmp_path / "none"
    assert line == f"answer: no bundle at {model}: make one with `answermill export MODEL --output {model}`"


def test_missing_column_is_named(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    broken = SAMPLES / "broken/missing-context.csv"
    line = one_line(stage("answer", broken, tmp_path / "out", "--model", int8_bundle))
    assert line == (
        'answer: missing-context.csv: header, column "context": no such column among "id", "question", "passage"; '
        "rename one, or say which it is with --context-column; if the first line is no header, write one above it"
    )
    assert not list(tmp_path.rglob("*.csv"))


def test_column_of_another_name_can_be_named(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    broken = SAMPLES / "broken/missing-context.csv"
    done = stage("answer", broken, tmp_path, "--model", int8_bundle, "--context-column", "passage")
    assert done.returncode == 0, done.stderr
    assert all(row["answer"] in row["passage"] for row in read(tmp_path / broken.name))


def test_a_clashing_column_is_renamed_or_kept_by_a_prefix(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    (tmp_path / "a.csv").write_text("question,context,answer\nWho did it?,Bob did it.,?\n")
    arguments = ("answer", tmp_path / "a.csv", tmp_path / "out", "--model", int8_bundle)
    done = stage(*arguments)
    assert done.returncode == 0 and "a.csv: columns renamed: answer -> given_answer" in done.stderr, done.stderr
    (row,) = read(tmp_path / "out/a.csv")
    assert (row["given_answer"], row["answer"]) == ("?", "Bob")
    assert stage(*arguments, "--prefix", "qa_").returncode == 0
    (row,) = read(tmp_path / "out/a.csv")
    assert (row["answer"], row["qa_answer"]) == ("?", "Bob")


def test_unreachable_database_is_one_line(answered: Path, stage: Stage, tmp_path: Path) -> None:
    url = "postgresql://somebody:s3cret@127.0.0.1:9/nothing?connect_timeout=2"
    line = one_line(stage("load", answered / "answer", tmp_path / "out", "--retry-for", 0, DATABASE_URL=url))
    assert "refused" in line
    assert "s3cret" not in line
    # The stage's own listing names no file: nothing was passed on.
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".load.listing"]
    assert not Mirror.read(tmp_path / "out", "load")


def test_wrong_usage_is_exit_code_two(stage: Stage) -> None:
    for name in ("ingest", "answer", "load"):
        assert stage(name).returncode == 2


def test_demo_without_a_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pachyderm.demo", "--model", str(tmp_path / "none"), "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"demo: no bundle at {tmp_path}/none: make one with `answermill export MODEL --output {tmp_path}/none`\n"
    )


def test_demo_prints_what_the_database_holds_and_repeats_itself(tmp_path: Path, int8_bundle: Path) -> None:
    command = [sys.executable, "-m", "pachyderm.demo", "--model", str(int8_bundle), "--root", str(tmp_path / "demo")]
    reports: list[list[str]] = []
    for jobs in ("processed=8", "skipped=8"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert f"question-answer job {len(reports) + 1} success {jobs}" in done.stderr
        reports.append([line for line in done.stdout.splitlines() if not line.startswith("rows/s")])
    assert reports[0] == reports[1]
    text = "\n".join(reports[0])
    assert "rows loaded       239   from 8 files" in text
    assert "rows refused        3" in text
    assert "files refused       6" in text
    assert not (tmp_path / "demo/postgres/postmaster.pid").exists()
    # What it says to type next can be typed.
    status, logs, *_ = text.partition("see also")[2].strip().splitlines()
    for line, shows in ((status, "question-answer"), (logs, "answer: done")):
        done = subprocess.run(shlex.split(line.split("  ")[0]), cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert shows in done.stdout
