"""The answer stage's options, its progress and its summary."""

import csv
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from collections import defaultdict
from itertools import islice
from pathlib import Path

import pytest

from runtime import Answerer, Decoding
from stages.common.progress import EVERY, Progress
from tests.conftest import ROOT, SAMPLES, Stage

NEWS = SAMPLES / "news.csv"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of a sample."""
    path = tmp_path_factory.mktemp("short") / "news.csv"
    with NEWS.open(newline="") as source, path.open("w", newline="") as target:
        rows = csv.reader(source)
        csv.writer(target).writerows(islice(rows, 5))
    return path


def test_top_k_writes_a_row_for_each_rank(stage: Stage, tmp_path: Path, short: Path, int8_bundle: Path) -> None:
    done = stage("answer", short, tmp_path, "--model", int8_bundle, "--top-k", 3)
    assert done.returncode == 0, done.stderr
    rows, answerer = read(short), Answerer.load(int8_bundle)
    assert list(read(tmp_path / "news.csv")[0])[len(rows[0]) :] == (
        ["rank", "answer", "score", "confidence", "start", "end", "error", "model"]
    )
    ranked = defaultdict(list)
    for row in read(tmp_path / "news.csv"):
        ranked[row["question"]].append(row)
    wanted = answerer.rank(((row["question"], row["context"]) for row in rows), Decoding(top_k=3))
    for row, answers in zip(rows, wanted, strict=True):
        found = ranked[row["question"]]
        assert [(one["rank"], one["answer"], float(one["score"])) for one in found] == [
            (str(rank), answer.text, answer.score) for rank, answer in enumerate(answers, 1)
        ]
        assert all({name: one[name] for name in row} == row for one in found)
    assert "rows=4 answered=4 " in done.stderr


def test_min_score_leaves_weaker_answers_blank(stage: Stage, tmp_path: Path, short: Path, int8_bundle: Path) -> None:
    assert stage("answer", short, tmp_path / "all", "--model", int8_bundle).returncode == 0
    every = read(tmp_path / "all/news.csv")
    limit = sorted(float(row["score"]) for row in every)[2]
    done = stage("answer", short, tmp_path / "some", "--model", int8_bundle, "--min-score", limit)
    assert "rows=4 answered=2 below_min_score=2 " in done.stderr
    for before, after in zip(every, read(tmp_path / "some/news.csv"), strict=True):
        weak = float(before["score"]) < limit
        blank = {"answer": "", "start": "0", "end": "0"} if weak else {}
        assert after == {**before, **blank}


def test_no_rank_stands_in_for_an_unsure_answer(stage: Stage, tmp_path: Path, short: Path, int8_bundle: Path) -> None:
    """Only the best answer has a confidence; where it is blank for that, the second-best took its place."""
    bundle = shutil.copytree(int8_bundle, tmp_path / "model")
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    manifest["confidence"] = {"coefficients": [0, 1, 0, 0], "rows": 100, "source": "x", "calibration_error": 0.1}
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert stage("answer", short, tmp_path / "all", "--model", bundle, "--top-k", 3).returncode == 0
    every = read(tmp_path / "all/news.csv")
    limit = sorted(float(row["confidence"]) for row in every if row["rank"] == "1")[2]
    options = ("--top-k", 3, "--min-confidence", limit)
    done = stage("answer", short, tmp_path / "some", "--model", bundle, *options)
    assert "rows=4 answered=2 below_min_score=2 " in done.stderr
    weak = {row["question"] for row in every if row["rank"] == "1" and float(row["confidence"]) < limit}
    for before, after in zip(every, read(tmp_path / "some/news.csv"), strict=True):
        blank = {"answer": "", "start": "0", "end": "0"} if before["question"] in weak else {}
        assert after == {**before, **blank}


def test_options_of_decoding_reach_the_runtime(stage: Stage, tmp_path: Path, short: Path, int8_bundle: Path) -> None:
    options = ["--max-answer-len", 2, "--max-seq-len", 64, "--doc-stride", 10, "--no-answer", "--threads", 1]
    done = stage("answer", short, tmp_path, "--model", int8_bundle, *options)
    assert done.returncode == 0, done.stderr
    decoding = Decoding(max_seq_len=64, doc_stride=10, max_answer_len=2, handle_impossible_answer=True)
    pairs = [(row["question"], row["context"]) for row in read(short)]
    wanted = [(answer.text, answer.score) for answer in Answerer.load(int8_bundle).answer(pairs, decoding)]
    assert [(row["answer"], float(row["score"])) for row in read(tmp_path / "news.csv")] == wanted
    assert wanted != [(answer.text, answer.score) for answer in Answerer.load(int8_bundle).answer(pairs)]


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--top-k", 0], 2, "argument --top-k: 0 is less than 1"),
        (["--threads", -1], 2, "argument --threads: -1 is less than 1"),
        (["--max-answer-len", "x"], 2, "argument --max-answer-len: 'x' is not a whole number"),
        (["--question-column", "context"], 2, "must differ"),
        (["--max-seq-len", 100_000], 1, "max_seq_len is 100000; this model takes at most 512 tokens"),
        (["--doc-stride", 400], 1, "doc_stride (400) must be smaller than max_seq_len (384)"),
    ],
)
def test_senseless_options_are_refused_first(
    stage: Stage, tmp_path: Path, short: Path, int8_bundle: Path, options: list[object], code: int, reason: str
) -> None:
    """They are refused before anything is written."""
    done = stage("answer", short, tmp_path / "out", "--model", int8_bundle, *options)
    assert done.returncode == code
    assert reason in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_summary_counts_errors_by_kind(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    (tmp_path / "a.csv").write_text('question,context\nWho?,Anna did.\n"",x\nWho?,\nWho?," "\n')
    done = stage("answer", tmp_path / "a.csv", tmp_path / "out", "--model", int8_bundle, "--log-format", "json")
    assert done.returncode == 0, done.stderr
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["event"], line["files"], line["rows"], line["answered"]) == ("done", 1, 4, 1)
    assert line["errors"] == {"empty question": 1, "empty context": 2}
    assert line["rows_per_second"] > 0
    assert line["tokens_per_second"] > line["rows_per_second"]
    assert line["model"] == Answerer.load(int8_bundle).bundle.manifest.bundle_id


def test_a_line_a_minute_is_logged_without_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    caplog.set_level("INFO")
    with Progress(1000, clock=lambda: now[0]) as progress:
        for _ in range(10):
            now[0] += EVERY / 2
            progress.advance(50, 5)
    assert [record.getMessage() for record in caplog.records] == [
        "progress rows=10 rows_per_second=0.2 percent=10.0 seconds_left=540",
        "progress rows=20 rows_per_second=0.2 percent=20.0 seconds_left=480",
        "progress rows=30 rows_per_second=0.2 percent=30.0 seconds_left=420",
        "progress rows=40 rows_per_second=0.2 percent=40.0 seconds_left=360",
        "progress rows=50 rows_per_second=0.2 percent=50.0 seconds_left=300",
    ]


def test_a_terminal_gets_a_bar_with_rate_and_time_left(tmp_path: Path, short: Path, int8_bundle: Path) -> None:
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "stages.answer", str(short), str(tmp_path), "--model", str(int8_bundle)]
    with subprocess.Popen(command, cwd=ROOT, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while process.poll() is None or select.select([screen], [], [], 0)[0]:
            if select.select([screen], [], [], 0.1)[0]:
                try:
                    shown += os.read(screen, 65536)
                except OSError:
                    break
    os.close(screen)
    assert process.returncode == 0
    text = shown.decode()
    assert "rows, " in text and "/s, " in text and " left" in text and "%|" in text
    assert "done files=1 rows=4" in text


def test_align_to_words_beats_the_bundles_default(stage: Stage, tmp_path: Path, short: Path, int8_bundle: Path) -> None:
    for choice in ("yes", "no"):
        done = stage("answer", short, tmp_path / choice, "--model", int8_bundle, "--align-to-words", choice)
        assert done.returncode == 0, done.stderr
        pairs = [(row["question"], row["context"]) for row in read(short)]
        wanted = Answerer.load(int8_bundle).answer(pairs, Decoding(align_to_words=choice == "yes"))
        assert [row["answer"] for row in read(tmp_path / choice / "news.csv")] == [answer.text for answer in wanted]


def test_answers_that_are_their_whole_context_are_said(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    """As where the model takes a sentence of a script without blanks for one word; a few rows say nothing."""
    for rows, is_said in ((20, True), (3, False)):
        (tmp_path / "a.csv").write_text("question,context\n" + "".join(f"Who? {row},Anna\n" for row in range(rows)))
        done = stage("answer", tmp_path / "a.csv", tmp_path / f"out-{rows}", "--model", int8_bundle)
        assert done.returncode == 0, done.stderr
        assert ("answers are their whole context" in done.stderr) is is_said


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_a_field_that_is_too_long_is_an_error(
    stage: Stage, tmp_path: Path, int8_bundle: Path, words: list[str]
) -> None:
    """Bytes count, as in ingest. A context of 60 MB that had not passed ingest took 5 GB; the rows beside it go on."""
    texts = [("Who came?", "Bob came."), ("Who came?", "é" * 51), ("é" * 51, "Bob came."), ("Who came?", "é" * 50)]
    source = tmp_path / "a.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "context"), *texts])
    done = stage("answer", source, tmp_path / "out", "--model", int8_bundle, "--max-field", 100, *words)
    assert done.returncode == 0, done.stderr
    assert "errors={'context too long': 1, 'question too long': 1}" in done.stderr
    if not words:
        errors = ["", "context too long", "question too long", ""]
        assert [row["error"] for row in read(tmp_path / "out/a.csv")] == errors
