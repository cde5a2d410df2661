"""`answer` run again: what is done is left alone, what is gone is removed, and nothing is answered twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from runtime import Answerer
from runtime.errors import AnswermillError, OptionError
from stages.answer import answer, load_job
from stages.answering import estimate, stream
from stages.answering.earlier import Leftovers, Settings, hidden_path
from stages.answering.metrics import Report, exclusive_metrics, write_reports
from stages.answering.options import arguments
from stages.answering.reuse import OldAnswers
from stages.answering.rows import Columns
from stages.answering.shares import Share, files_of, share_of_environment
from stages.answering.stream import Stream, _Block
from stages.common.files import partial_name
from tests.conftest import ROOT, SAMPLES, Stage
from tests.stages.test_answer_faults import tree
from tests.support.processes import start


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "context"), *rows])


SLURM = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2"}
ROWS = [
    (row["question"], row["context"][:250])
    for row in islice(csv.DictReader((SAMPLES / "news.csv").read_text("utf-8-sig").splitlines()), 12)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(4):
        write(tmp_path / f"in/d/{number}.csv", ROWS[3 * number : 3 * number + 3])
    return tmp_path / "in"


def run(stage: Stage, source: Path, target: Path, model: Path, *options: object, **environment: str) -> str:
    done = stage("answer", source, target, "--model", model, *options, **environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_second_run_does_only_what_changed(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    out = tmp_path / "out"
    assert " rows=12 " in run(stage, source, out, int8_bundle)
    first = tree(out)
    assert "done files=0 rows=0 answered=0" in (told := run(stage, source, out, int8_bundle))
    assert "unchanged_files=4" in told
    assert tree(out) == first
    write(source / "d/0.csv", [ROWS[11], *ROWS[:3]])
    (source / "d/1.csv").unlink()
    (source / "d/2.csv").rename(source / "e.csv")
    (out / "d/3.csv").write_bytes(b"spoilt")
    (out / "mine.csv").write_bytes(b"the user's own")
    told = run(stage, source, out, int8_bundle)
    assert "done files=3 rows=10 " in told
    assert "reused_rows=3 " in told
    assert "removed answers of 2 files that are gone: d/1.csv, d/2.csv" in told
    run(stage, source, tmp_path / "fresh", int8_bundle)
    assert tree(out) == {**tree(tmp_path / "fresh"), "mine.csv": b"the user's own"}
    assert "unchanged_files=0" in run(stage, source, out, int8_bundle, "--again")


def test_other_options_answer_again(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    out = tmp_path / "out"
    run(stage, source, out, int8_bundle)
    told = run(stage, source, out, int8_bundle, "--max-answer-len", 2)
    assert "rows=12 " in told and "reused_rows=0 " in told
    run(stage, source, tmp_path / "fresh", int8_bundle, "--max-answer-len", 2)
    assert tree(out) == tree(tmp_path / "fresh")
    told = run(stage, source, out, int8_bundle, "--max-answer-len", 2, "--prefix", "qa_", "--threads", 1)
    assert "rows=12 " in told


def test_answers_of_another_folder_are_reused(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    run(stage, source, tmp_path / "old", int8_bundle)
    (tmp_path / "old/d/0.csv").write_bytes((tmp_path / "old/d/0.csv").read_bytes().replace(b"a", b"b"))
    (tmp_path / "old/foreign.csv").write_bytes(b"question,context,answer\nWho?,Anna,Bob\n")
    write(tmp_path / "other/all.csv", ROWS)
    told = run(stage, tmp_path / "other", tmp_path / "out", int8_bundle, "--reuse", tmp_path / "old")
    assert "ignored 2 files to reuse" in told
    assert "reused_rows=9 " in told
    run(stage, tmp_path / "other", tmp_path / "fresh", int8_bundle)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    told = run(stage, tmp_path / "other", tmp_path / "o", int8_bundle, "--reuse", tmp_path / "old", "--min-score", 0.4)
    assert "reused_rows=0 " in told


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["--question-column", "other"], []),
        ([], ["--question-column", "other"]),
        (["--context-column", "passage"], []),
        (["--prefix", "qa_"], []),
    ],
)
def test_answers_to_another_column_are_not_reused(
    stage: Stage, tmp_path: Path, int8_bundle: Path, before: list[str], now: list[str]
) -> None:
    """A file that holds two questions, two contexts, or the answers of somebody else's run beside its own."""
    context = "Anna Smith called Peter Jones on Monday in Berlin."
    theirs = {"answer": "Peter", "score": "0.5", "confidence": "", "start": "18", "end": "23"}
    theirs |= {"error": "", "model": "m"}
    row = {"question": "Who called?", "other": "When did she call?", "context": context, "passage": f"Yes. {context}"}
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*row, *theirs])
        writer.writeheader()
        writer.writerow(row | theirs)
    out = tmp_path / "out"
    run(stage, tmp_path / "in.csv", out, int8_bundle, *before)
    assert "reused_rows=0 " in run(stage, tmp_path / "in.csv", out, int8_bundle, *now)
    run(stage, tmp_path / "in.csv", tmp_path / "fresh", int8_bundle, *now)
    assert tree(out) == tree(tmp_path / "fresh")


def test_known_rows_do_not_pile_up_behind_a_new_one(
    tmp_path: Path, int8_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has got a row on its top was in memory whole, since all others were drawn before it was answered."""
    rows = [(f"Who called at {number}?", f"Ada called. {'-' * 1000}") for number in range(9)] * 200
    write(tmp_path / "in/a.csv", rows)
    line = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(int8_bundle)]
    assert answer(arguments(line)) == 0
    write(tmp_path / "in/a.csv", [("Who left?", "Bob left."), *rows, ("Who came?", "Eve came."), *rows])
    waiting, blocks = [0], Stream._blocks

    def watched(self: Stream, *arguments: Any) -> Iterator[_Block]:
        for block in blocks(self, *arguments):
            yield block
            waiting.append(sum(each.size for each in self._line if isinstance(each, _Block)))

    monkeypatch.setattr(stream, "AHEAD", 200_000)
    monkeypatch.setattr(Stream, "_blocks", watched)
    assert answer(arguments(line)) == 0
    assert max(waiting) < 500_000
    assert json.loads((tmp_path / "out/run.json").read_text())["reused"] == 2 * len(rows)
    monkeypatch.undo()
    assert answer(arguments([*line[:1], str(tmp_path / "fresh"), *line[2:]])) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_the_record_of_an_interrupted_run_adds_up(
    tmp_path: Path, int8_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There were more reused rows than rows, and the next run answered again what it had not reached."""
    line = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(int8_bundle)]
    rows = [(f"Who called at {number}?", "Ada called.") for number in range(150)]
    write(tmp_path / "in/a.csv", rows)
    assert answer(arguments(line)) == 0
    write(tmp_path / "in/a.csv", [("Who left?", "Bob left."), *rows])
    rank = Answerer.rank

    def interrupted(self: Answerer, *arguments: Any) -> Iterator[object]:
        for number, ranked in enumerate(rank(self, *arguments)):
            if number == 0:
                raise KeyboardInterrupt
            yield ranked

    monkeypatch.setattr(Answerer, "rank", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answer(arguments(line))
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (record["finished"], record["rows"], record["reused"]) == (False, 0, 0)
    monkeypatch.undo()
    assert answer(arguments(line)) == 0
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (record["finished"], record["rows"], record["reused"]) == (True, 151, 150)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_an_interrupted_run_wrote_is_reused(
    stage: Stage, tmp_path: Path, int8_bundle: Path, number: signal.Signals
) -> None:
    write(tmp_path / "in/a.csv", [(f"{question} {copy}", context) for copy in range(14) for question, context in ROWS])
    out = tmp_path / "out"
    with start("stages.answer", tmp_path / "in", out, "--model", int8_bundle) as process:
        # A header, and a block of rows that is on its way whole.
        while not any(path.read_bytes().count(b"\n") > 64 for path in out.glob(".*.*.partial")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.wait(10)
    assert tree(out) == {}
    told = run(stage, tmp_path / "in", out, int8_bundle)
    assert int(told.partition("reused_rows=")[2].split()[0]) >= 64
    run(stage, tmp_path / "in", tmp_path / "fresh", int8_bundle)
    assert tree(out) == tree(tmp_path / "fresh")
    assert not list(out.glob(".*.*.partial")) + list(out.glob(".*.kept"))


@pytest.mark.parametrize(("text", "start", "reused"), [("def", "4", True), ("dex", "4", False), ("def", "x", False)])
def test_a_damaged_answer_is_not_reused(tmp_path: Path, text: str, start: str, reused: bool) -> None:
    """What an interrupted run left has no digest; an answer that is not in its context cannot be right."""
    old = tmp_path / "a.partial"
    old.write_text(
        f"question,context,answer,score,confidence,start,end,error,model\nq,abc def,{text},0.5,,{start},7,,m\n"
    )
    known = OldAnswers(Columns("question", "context", ""))
    known.add(old)
    assert (known.get("q", "abc def") is not None) == reused


def test_no_file_of_old_answers_stays_open(tmp_path: Path) -> None:
    """A folder of more files than a process may open could not be reused: "Too many open files" after 1,000."""
    known = OldAnswers(Columns("question", "context", ""))
    before = sorted(Path("/proc/self/fd").iterdir())
    for number in range(3):
        path = tmp_path / f"{number}.csv"
        path.write_text(
            f"question,context,answer,score,confidence,start,end,error,model\nq{number},abc def,def,0.5,,4,7,,m\n"
        )
        known.add(path)
        path.unlink()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    answer = known.get("q1", "abc def")
    assert answer and (answer.text, answer.score, answer.confidence, answer.start) == ("def", 0.5, None, 4)


def test_leftovers_of_a_folder_are_listed_once(tmp_path: Path) -> None:
    """To list a folder for each of its files makes a run over many small files quadratic."""
    settings = Settings("a" * 64, "f")
    mine, later = (hidden_path(tmp_path, name, settings, "partial") for name in ("d/a.csv", "d/b.csv"))
    mine.parent.mkdir()
    mine.touch()
    leftovers = Leftovers()
    assert leftovers.of(tmp_path / "d/a.csv") == [mine]
    later.touch()
    assert leftovers.of(tmp_path / "d/b.csv") == leftovers.of(tmp_path / "none/b.csv") == []
    leftovers.remove(tmp_path / "d/a.csv")
    assert list(mine.parent.iterdir()) == [later]


def test_parts_are_disjoint_complete_and_even() -> None:
    sizes = {f"{number}.csv": number**2 for number in range(100)}
    for count in (1, 2, 3, 7, 150):
        parts = [files_of(sizes, Share(index + 1, count)) for index in range(count)]
        assert sorted(name for part in parts for name in part) == sorted(sizes)
        assert count > 7 or max(sum(sizes[name] for name in part) for part in parts) < 1.1 * sum(sizes.values()) / count


def test_three_parts_one_killed_give_what_one_process_gives(
    stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path
) -> None:
    out = tmp_path / "out"
    write(source / "big.csv", [(f"{question} {copy}", context) for copy in range(20) for question, context in ROWS])
    run(stage, source, tmp_path / "one", int8_bundle)
    slurm = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}
    parts = [
        start("stages.answer", source, out, "--model", int8_bundle, **{**slurm, "SLURM_ARRAY_TASK_ID": str(number)})
        for number in (1, 2, 3)
    ]
    # The largest file is the first part's; a block of its rows that is there whole is not answered again.
    partial = partial_name("big.csv").replace("partial", "*.partial")
    while not any(path.read_bytes().count(b"\n") > 64 for path in out.glob(partial)):
        assert parts[0].poll() is None
        time.sleep(0.01)
    parts[0].kill()
    for process in parts:
        process.communicate(timeout=120)
    assert [process.returncode for process in parts] == [-signal.SIGKILL, 0, 0]
    told = run(stage, source, out, int8_bundle, JOB_COMPLETION_INDEX="0", JOB_COMPLETIONS="3")
    assert int(told.partition("reused_rows=")[2].split()[0]) >= 64, told
    assert tree(out) == tree(tmp_path / "one")
    (source / "d/1.csv").unlink()
    assert "unchanged_files=4" in run(stage, source, out, int8_bundle)
    assert [path.name for path in out.glob(".*listing")] == [".answer.listing"]
    run(stage, source, tmp_path / "fresh", int8_bundle)
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("options", "environment", "code", "reason"),
    [
        (["--part", "4/3"], {}, 2, "'4/3' is not I/N with I from 1 to N"),
        ([], {"JOB_COMPLETION_INDEX": "0"}, 1, "JOB_COMPLETION_INDEX is 0, but JOB_COMPLETIONS is not set"),
        ([], {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "3"}, 1, "JOB_COMPLETION_INDEX is 3, JOB_COMPLETIONS"),
        ([], {"JOB_COMPLETIONS": "3"}, 1, "JOB_COMPLETIONS is 3, but JOB_COMPLETION_INDEX is not set"),
        ([], {"JOB_COMPLETION_INDEX": "", "JOB_COMPLETIONS": "3"}, 1, "JOB_COMPLETION_INDEX is , JOB_COMPLETIONS is 3"),
        ([], {**SLURM, "SLURM_ARRAY_TASK_MIN": "x"}, 1, "SLURM_ARRAY_TASK_MIN is x"),
        ([], {**SLURM, "SLURM_ARRAY_TASK_ID": "9"}, 1, "SLURM_ARRAY_TASK_ID is 9, SLURM_ARRAY_TASK_COUNT is 2"),
        ([], {**SLURM, "SLURM_ARRAY_TASK_STEP": "0"}, 1, "SLURM_ARRAY_TASK_STEP is 0"),
    ],
)
def test_shares_that_make_no_sense_are_refused(
    stage: Stage, source: Path, tmp_path: Path, options: list[str], environment: dict[str, str], code: int, reason: str
) -> None:
    done = stage("answer", source, tmp_path / "out", *options, **environment)
    assert (done.returncode, reason in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("array", "step"),
    [(range(8), ""), (range(1, 4), "1"), (range(7, 9), "1"), (range(1, 16, 2), "2"), (range(0, 16, 4), "4")],
)
def test_a_slurm_array_is_all_shares_once(array: range, step: str) -> None:
    """From any number on, and with a step, as in `--array=1-15:2`."""
    slurm = {"SLURM_ARRAY_TASK_COUNT": str(len(array)), "SLURM_ARRAY_TASK_MIN": str(array[0])}
    if step:
        slurm["SLURM_ARRAY_TASK_STEP"] = step
    shares = [share_of_environment({**slurm, "SLURM_ARRAY_TASK_ID": str(number)}) for number in array]
    assert shares == [Share(number, len(array)) for number in range(1, len(array) + 1)]


@pytest.mark.parametrize("array", [(1, 2, 4), (1, 3, 4), (0, 5)])
def test_a_slurm_array_with_gaps_is_refused(array: tuple[int, ...]) -> None:
    """By one of its processes at least, because no other would answer the files of a share."""
    slurm = {"SLURM_ARRAY_TASK_COUNT": str(len(array)), "SLURM_ARRAY_TASK_MIN": str(array[0])}
    for step in ("1", "2"):
        with pytest.raises(OptionError):
            for number in array:
                share_of_environment({**slurm, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_STEP": step})


def test_a_share_of_a_thousand_million_is_none() -> None:
    """It takes no memory for parts that cannot have a file."""
    assert files_of({"a": 1, "b": 2}, Share(2, 1_000_000_000)) == {"a"}
    assert not files_of({"a": 1, "b": 2}, Share(3, 1_000_000_000))


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["in", "out", "--metrics", "in/d/0.csv"], 1, "it lies in INPUT; choose a file outside of INPUT and OUTPUT"),
        (["in/d/0.csv", "out", "--metrics", "in/d/0.csv"], 1, "it lies in INPUT"),
        (["in", "out", "--metrics", "out/d/0.csv"], 1, "it lies in OUTPUT"),
        (["in", "out", "--metrics", "link/0.csv"], 1, "it lies in INPUT"),
        (["in", "out", "--metrics", "notes"], 1, "it is a folder; name a file in it, such as notes/answermill.prom"),
        (["in", "out", "--metrics", "notes/text"], 1, "it holds something else; name another file, or remove this one"),
        (["in", "out", "--metrics", "/proc/none/m"], 1, "--metrics /proc/none/m: No such file or directory; name"),
        (
            ["in", "out", "--metrics", "/proc/m"],
            1,
            "--metrics /proc/m: No such file or directory; name a file",
        ),
        (["in", "out", "--metrics", "/dev/null"], 1, "--metrics /dev/null: it is not a regular file; name another one"),
        (["in", "out", "--reuse", "none"], 1, "none: no such file or folder"),
        (["-", "out"], 2, "- stands for stdin and stdout"),
        (["-", "-", "--dry-run"], 2, "--dry-run goes with folders, not with a pipe"),
        (["-", "-", "--metrics", "m"], 2, "--metrics goes with folders, not with a pipe"),
        (["in", "out", "--price-per-cpu-hour", "1"], 2, "--price-per-cpu-hour goes with --dry-run"),
        (["in", "out", "--dry-run", "--price-per-cpu-hour", "nan"], 2, "'nan' is not a price such as 0.04"),
    ],
)
def test_what_would_harm_files_or_say_nothing_is_refused(
    source: Path, tmp_path: Path, int8_bundle: Path, options: list[str], code: int, reason: str
) -> None:
    """Metrics must not take the place of a CSV, and no option is passed over in silence."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/text").write_text("mine")
    (tmp_path / "link").symlink_to(source / "d")
    before = tree(tmp_path)
    command = [sys.executable, "-m", "stages.answer", *options, "--model", str(int8_bundle)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, input="")
    assert (done.returncode, reason in done.stderr) == (code, True), done.stderr
    assert {name: content for name, content in tree(tmp_path).items() if not name.startswith("out/")} == before


def test_two_runs_do_not_share_one_file_of_metrics(
    stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path
) -> None:
    """The figures of one would take turns with those of the other."""
    metrics = tmp_path / "m.prom"
    with exclusive_metrics(metrics):
        done = stage("answer", source, tmp_path / "out", "--model", int8_bundle, "--metrics", metrics)
    assert done.returncode == 1
    assert "another run is writing it; give each run, and each part, a file of its own" in done.stderr
    run(stage, source, tmp_path / "out", int8_bundle, "--metrics", metrics)
    run(stage, source, tmp_path / "out", int8_bundle, "--metrics", metrics)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_is_recorded_where_metrics_cannot_be_written(tmp_path: Path) -> None:
    """Somebody has put a folder in the place of the metrics while the run went on."""
    metrics, report = tmp_path / "m.prom", create_autospec(Report, instance=True)
    report.prometheus.return_value, report.record.return_value = "", {"finished": True}
    with (
        pytest.raises(AnswermillError, match="not a regular file"),
        write_reports(report, metrics, tmp_path / "run.json"),
    ):
        metrics.unlink()
        metrics.mkdir()
    assert json.loads((tmp_path / "run.json").read_text()) == {"finished": True}


def test_a_dry_run_counts_what_is_reused(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    """A row at the top of an answered CSV costs one row, and so says the estimate."""
    out, other = tmp_path / "out", tmp_path / "other"
    run(stage, source, out, int8_bundle)
    rows = ROWS[:3]
    write(source / "d/0.csv", [("Who is new?", "Anna is new"), *rows])
    before = tree(tmp_path)
    told = run(stage, source, out, int8_bundle, "--dry-run")
    assert f"rows={len(rows) + 1} windows=1 " in told
    assert f"reused_rows={len(rows)} " in told
    told = run(stage, source, other, int8_bundle, "--dry-run", "--reuse", out)
    assert " windows=1 " in told
    assert tree(tmp_path) == before
    assert f"reused_rows={len(rows)} " in run(stage, source, out, int8_bundle)


def test_figures_are_written_for_prometheus_and_kept(
    stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path
) -> None:
    write(source / "errors.csv", [("", "x"), ("Who?", "Anna did it")])
    run(stage, source, tmp_path / "out", int8_bundle, "--metrics", tmp_path / "m.prom", "--limit", 2)
    metrics = (tmp_path / "m.prom").read_text()
    assert "# TYPE answermill_rows_total counter\nanswermill_rows_total 10\n" in metrics
    assert 'answermill_errors_total{kind="empty question"} 1\n' in metrics
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (record["finished"], record["rows"], record["errors"]) == (True, 10, {"empty question": 1})
    assert record["options"]["limit"] == 2


def test_a_datum_names_a_bad_csv_in_rejected(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    (source / "d/bad.csv").write_bytes(b"question,context\nWho?\n")
    out = tmp_path / "out"
    run(stage, source, out, int8_bundle, PACH_DATUM_ID="1")
    note = json.loads((out / "rejected/d/bad.csv.json").read_text())
    assert note["object"] == "d/bad.csv" and note["row"] == 1 and note["reason"].startswith("1 fields where")
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "0.csv",
        "1.csv",
        "2.csv",
        "3.csv",
        "bad.csv.json",
    ]
    done = stage("answer", source, tmp_path / "plain", "--model", int8_bundle)
    assert done.returncode == 1
    assert sorted(tree(tmp_path / "plain")) == [f"d/{number}.csv" for number in range(4)]


@pytest.mark.skipif(os.geteuid() == 0 and not hasattr(os, "mkfifo"), reason="needs links")
def test_a_dangling_link_fails_alone(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    (source / "gone.csv").symlink_to(tmp_path / "nowhere")
    done = stage("answer", source, tmp_path / "out", "--model", int8_bundle)
    assert done.returncode == 1
    assert "gone.csv" in done.stderr and "Traceback" not in done.stderr
    assert len(tree(tmp_path / "out")) == 4


def test_a_dangling_link_does_not_fail_a_datum(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    """It would fail all its tries, and hold up the files beside it; it is named in `rejected`."""
    (source / "gone.csv").symlink_to(tmp_path / "nowhere")
    (source / "loop.csv").symlink_to(source / "loop.csv")
    done = stage("answer", source, tmp_path / "out", "--model", int8_bundle, PACH_DATUM_ID="1")
    assert done.returncode == 0, done.stderr
    for name in ("gone", "loop"):
        note = json.loads((tmp_path / f"out/rejected/{name}.csv.json").read_text())
        assert note["reason"] == "a link that leads to no file"


def test_an_input_without_csvs_is_said(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.parquet").write_bytes(b"PAR1")
    assert "no CSV in it" in run(stage, tmp_path / "in", tmp_path / "out", int8_bundle)


def test_an_input_without_csvs_costs_no_answers(
    stage: Stage,
    source: Path,
    tmp_path: Path,
    int8_bundle: Path,
) -> None:
    """A disk that is not mounted leaves an empty folder; hours of answers must not go for it."""
    out = tmp_path / "out"
    run(stage, source, out, int8_bundle)
    before = {name: content for name, content in tree(out).items() if name.endswith(".csv")}
    source.rename(tmp_path / "unmounted")
    source.mkdir()
    assert "nothing is answered or removed" in run(stage, source, out, int8_bundle)
    assert {name: content for name, content in tree(out).items() if name.endswith(".csv")} == before
    source.rmdir()
    (tmp_path / "unmounted").rename(source)
    assert "unchanged_files=4" in run(stage, source, out, int8_bundle)


def test_a_dry_run_counts_and_writes_nothing(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    out = tmp_path / "out"
    run(stage, source, out, int8_bundle)
    write(source / "new.csv", [("", "x"), *ROWS[:3]])
    before = tree(tmp_path)
    told = run(stage, source, out, int8_bundle, "--dry-run", "--price-per-cpu-hour", 0.04)
    assert "estimate files=1 unchanged_files=4 rejected_files=0 rows=4 windows=3 tokens=" in told
    assert "errors={'empty question': 1} " in told
    assert float(told.partition(" seconds=")[2].split()[0]) > 0 and " cost=" in told
    assert tree(tmp_path) == before


def test_equal_rows_close_together_cost_one(tmp_path: Path, int8_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share one computation, and so says the estimate; far apart each has its own."""
    job = load_job(arguments([str(tmp_path), str(tmp_path / "out"), "--model", str(int8_bundle), "--threads", "1"]))
    monkeypatch.setattr(estimate._Sample, "seconds", lambda sample, *_: float(sample.tokens))
    pairs = [(f"What is {number}?", "It is one of many.") for number in range(40)]
    seconds = []
    for name, rows in (("once", pairs), ("close", [pair for pair in pairs for _ in range(9)]), ("apart", pairs * 9)):
        write(tmp_path / name, rows)
        seconds.append(estimate.estimate(job, {name: tmp_path / name}, 0).seconds)
    assert seconds == [seconds[0], seconds[0], 9 * seconds[0]]


@pytest.mark.parametrize(("count", "windows", "least", "most"), [(5000, 1, 64, 70), (400, 22, 3, 6), (3, 200, 3, 3)])
@pytest.mark.parametrize("is_slow", [True, False])
def test_the_sample_of_a_dry_run_is_small(
    monkeypatch: pytest.MonkeyPatch, count: int, windows: int, least: int, most: int, is_slow: bool
) -> None:
    """It ends after some seconds, with 64 windows at least; a fast model answers all rows that were drawn."""
    sample = estimate._Sample(64)
    for number in range(count):
        sample.add(estimate._SampleRow((str(number), "context"), 100 * windows, windows))
    answered: list[object] = []

    def answer(pairs: Iterable[object]) -> None:
        answered[:] = []
        for pair in pairs:
            clock[0] += 1.0 if is_slow else 0.001
            answered.append(pair)

    clock = [0.0]
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    told = sample.seconds(answer, 2)
    assert len(answered) == len(set(answered)) >= least
    assert len(answered) <= (most if is_slow else len(sample.rows))
    assert told == pytest.approx(count * (1.0 if is_slow else 0.001))
    assert sum(row.windows for row in sample.rows) < 2 * estimate.SAMPLE_WINDOWS


def test_a_table_that_repeats_itself_is_sampled_fairly() -> None:
    """Of every 16th row of one that has a slow row in 16 either all were slow, or none."""
    sample = estimate._Sample(64)
    for number in range(20_000):
        sample.add(estimate._SampleRow((str(number), "context"), 1000 if number % 16 == 0 else 10, 1))
    share = sum(row.tokens == 1000 for row in sample.rows) / len(sample.rows)
    assert 0.04 < share < 0.09


def test_a_pipe_is_answered_from_stdin_to_stdout(stage: Stage, source: Path, tmp_path: Path, int8_bundle: Path) -> None:
    run(stage, source, tmp_path / "out", int8_bundle)
    command = [sys.executable, "-m", "stages.answer", "-", "-", "--model", str(int8_bundle)]
    done = subprocess.run(command, cwd=ROOT, input=(source / "d/0.csv").read_bytes(), capture_output=True)
    assert (done.returncode, done.stdout) == (0, (tmp_path / "out/d/0.csv").read_bytes()), done.stderr
    done = subprocess.run(command, cwd=ROOT, input=b"question,context\nWho?\n", capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"answer: stdin: row 1: 1 fields where the header has 2" in done.stderr
