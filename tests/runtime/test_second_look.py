"""Near ties are answered again in fp32; a row's answer stays a function of the row, the bundle and the options."""

import csv
import fcntl
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from runtime import Answerer, Decoding, confidence
from runtime.answer import Answer, are_apart
from runtime.bundle import FLOAT_MODEL, Bundle
from runtime.calibrate import arguments, labelled_rows
from runtime.errors import BundleError, OptionError
from runtime.manifest import Confidence, Manifest
from runtime.rows import Ranking
from stages.answering import options
from tests.conftest import ROOT, SAMPLES
from tests.support.rows import sample_pairs

PAIRS = sample_pairs()[:60]


def texts(answerer: Answerer, decoding: Decoding | None = None) -> list[tuple[object, ...]]:
    return [(a.text, a.start, a.end, a.score) for a in answerer.answer(PAIRS, decoding)]


def test_the_bundle_says_when_it_looks_again(int8_bundle: Path) -> None:
    manifest = Manifest.from_json((int8_bundle / "manifest.json").read_text("utf-8"))
    look = manifest.second_look
    assert look is not None
    assert 0.5 <= look.ratio < 1 and 0 <= look.share <= 1
    assert look.agreement >= look.agreement_without
    assert FLOAT_MODEL in manifest.files
    assert f"{look.ratio} of the best one" in (int8_bundle / "README.md").read_text("utf-8")


def test_rows_above_the_ratio_get_the_answers_of_fp32(int8_bundle: Path, fp32_bundle: Path) -> None:
    """With 0 every row is looked at again and equals fp32's; with "off" none is; between, exactly the near ties."""
    off = Answerer.load(int8_bundle, second_look="off")
    every = Answerer.load(int8_bundle, second_look=0.0)
    some = Answerer.load(int8_bundle, second_look=0.8)
    rankings = list(off.rankings(PAIRS))
    ratios = [ranking.closeness for ranking in rankings]
    plain, looked = texts(off), texts(every)
    assert [row[:3] for row in looked] == [row[:3] for row in texts(Answerer.load(fp32_bundle))]
    expected = [again if ratio >= 0.8 else once for once, again, ratio in zip(plain, looked, ratios, strict=True)]
    assert texts(some) == expected
    assert 0 < sum(ratio >= 0.8 for ratio in ratios) < len(PAIRS)
    assert any(ranking.ratio < 0.8 <= ranking.closeness for ranking in rankings)


@pytest.mark.parametrize(
    ("places", "apart"),
    [
        ([(0, 3), (8, 9)], True),
        ([(8, 9), (0, 8)], True),
        ([(0, 3), (0, 9)], False),
        ([(2, 5), (4, 9)], False),
        ([(0, 0), (0, 3)], True),
        ([(0, 3)], False),
        ([(None, None), (0, 3)], False),
    ],
)
def test_answers_elsewhere_count_as_closer(places: list[tuple[int | None, int | None]], apart: bool) -> None:
    """int8 moves two answers that share no letter 2.5 times as far apart, or together."""
    answers = tuple(Answer("x", 0.5, start, end) for start, end in places)
    assert are_apart(answers) is apart
    assert Ranking(answers, 0.5, apart).closeness == pytest.approx(0.5**0.4 if apart else 0.5)


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(top_k=3), Decoding(align_to_words=False)])
def test_neither_order_nor_threads_change_a_bit(int8_bundle: Path, decoding: Decoding) -> None:
    one, four = (Answerer.load(int8_bundle, threads, second_look=0.7) for threads in (1, 4))
    wanted = dict(zip(PAIRS, one.rank(PAIRS, decoding), strict=True))
    mixed = random.Random(7).sample(PAIRS, len(PAIRS))
    assert dict(zip(mixed, four.rank(mixed, decoding), strict=True)) == wanted


def test_the_first_row_that_needs_it_opens_the_fp32_graph(int8_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(int8_bundle, tmp_path / "bundle")
    with (tmp_path / "bundle" / FLOAT_MODEL).open("r+b") as file:
        file.write(b"damaged")
    answerer = Answerer.load(tmp_path / "bundle", second_look="off")
    assert len(texts(answerer)) == len(PAIRS)
    with pytest.raises(BundleError, match="is not the file that was exported"):
        texts(Answerer.load(tmp_path / "bundle", second_look=0.0))


def test_a_ratio_that_makes_no_sense_is_refused(int8_bundle: Path, fp32_bundle: Path) -> None:
    with pytest.raises(OptionError, match="from 0 to 1"):
        Answerer.load(int8_bundle, second_look=1.5)
    with pytest.raises(OptionError, match="holds no fp32 graph"):
        Answerer.load(fp32_bundle, second_look=0.9)
    assert Answerer.load(fp32_bundle).second_look is None


def labelled(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Features of made-up answers, and whether each is right, by a curve that is known."""
    random_numbers = np.random.default_rng(seed)
    score, second = random_numbers.uniform(0.02, 0.98, rows), random_numbers.uniform(0, 1, rows)
    words = random_numbers.integers(1, 8, rows)
    inputs = np.stack([np.ones(rows), np.log(score / (1 - score)), second, np.log1p(words)], axis=1)
    odds = inputs @ np.asarray([1.5, 0.8, -1.0, -0.5])
    return inputs, (random_numbers.uniform(size=rows) < 1 / (1 + np.exp(-odds))).astype(float)


def test_the_fit_finds_a_curve_that_is_known() -> None:
    inputs, right = labelled(20_000)
    assert confidence.fit(inputs, right) == pytest.approx([1.5, 0.8, -1.0, -0.5], abs=0.15)
    assert confidence.calibration_error(confidence.out_of_fold_confidence(inputs, right), right) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_confidence_never_falls_where_the_score_rises(seed: int) -> None:
    """Also where the labels say the opposite."""
    inputs, right = labelled(150, seed)
    for labels in (right, 1 - right, np.ones_like(right), np.zeros_like(right)):
        coefficients = tuple(map(float, confidence.fit(inputs, labels)))
        assert coefficients[1] >= 0 and np.isfinite(coefficients).all()
        curve = Confidence(coefficients, 150, "rows", 0.0)
        scores = np.linspace(0, 1.3, 60)
        sure = [confidence.of_answer(curve, Answer("a b", float(score), 0, 3), 0.4) for score in scores]
        assert sure == sorted(sure) and min(sure) >= 0 and max(sure) <= 1


def test_too_few_labels_give_no_confidence(int8_bundle: Path) -> None:
    """The tests' bundle was verified on one file of the samples."""
    manifest = Manifest.from_json((int8_bundle / "manifest.json").read_text("utf-8"))
    assert manifest.confidence is None
    assert "labelled rows are too few" in (int8_bundle / "README.md").read_text("utf-8")
    assert next(Answerer.load(int8_bundle).answer(PAIRS)).confidence is None


def sample_rows() -> list[dict[str, str]]:
    texts = [path.read_text("utf-8-sig") for path in sorted(SAMPLES.glob("*.csv"))]
    return [row for text in texts for row in csv.DictReader(io.StringIO(text, newline=""))]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "answermill", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_calibrate_adds_a_confidence(int8_bundle: Path, tmp_path: Path) -> None:
    """From labelled rows of the user's, without torch; the bundle that it started from stays as it is."""
    rows = sample_rows()
    with (tmp_path / "mine.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["q", "c", "gold"])
        writer.writerows([row["question"], row["context"], row["expected"]] for row in rows[:130])
    before = (int8_bundle / "manifest.json").read_bytes()
    names = ("--question-column", "q", "--context-column", "c", "--expected-column", "gold")
    done = run("calibrate", int8_bundle, tmp_path / "mine.csv", "--output", tmp_path / "new", *names)
    assert done.returncode == 0, done.stderr
    assert (int8_bundle / "manifest.json").read_bytes() == before
    manifest = Manifest.from_json((tmp_path / "new/manifest.json").read_text("utf-8"))
    assert manifest.confidence is not None and manifest.confidence.source == "mine.csv"
    assert manifest.bundle_id != Manifest.from_json(before.decode()).bundle_id
    assert "accept above" in (tmp_path / "new/README.md").read_text("utf-8")
    best = list(Answerer.load(tmp_path / "new").answer(PAIRS))
    assert all(0 <= (answer.confidence or 0) <= 1 for answer in best)
    assert len({answer.confidence for answer in best}) > 20
    answered = run(
        "answer", SAMPLES / "news.csv", tmp_path / "out", "--model", tmp_path / "new", "--min-confidence", "0.6"
    )
    assert answered.returncode == 0, answered.stderr
    with (tmp_path / "out/news.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert all((row["answer"] == "") == (float(row["confidence"]) < 0.6) for row in table if not row["error"])
    again = run("calibrate", tmp_path / "new", tmp_path / "mine.csv", "--output", tmp_path / "newer", *names)
    assert again.returncode == 0, again.stderr


def test_calibrate_says_what_is_wrong(int8_bundle: Path, tmp_path: Path) -> None:
    """Copies of a row are one row, and rows that cannot be answered are none."""
    long = "why " * 600
    few = {
        "few": [("q", "c", "a")],
        "copies": [("Who?", "Ada.", "Ada")] * 150,
        "long": [(f"{long}{number}?", "Ada.", "Ada") for number in range(120)],
        "blank": [(f"Who, {number}?", "Ada.", "") for number in range(120)],
    }
    for name, rows in few.items():
        write_labelled(tmp_path / f"{name}.csv", rows)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    messages = {"few": "1 labelled", "copies": "1 labelled", "long": "0 labelled", "blank": "0 labelled"}
    for name, message in {**messages, "other": "--question-column"}.items():
        done = run("calibrate", int8_bundle, tmp_path / f"{name}.csv", "--output", tmp_path / "new")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_two_runs_do_not_calibrate_one_bundle(int8_bundle: Path, tmp_path: Path) -> None:
    """Whoever came second emptied the folder that the first was writing. A killed run's is no obstacle."""
    rows = write_labelled(tmp_path / "rows.csv", [(f"Who called {n}?", f"Ada called {n}.", "Ada") for n in range(101)])
    draft = tmp_path / ".new.calibrating"
    draft.mkdir()
    (draft / "model.onnx").write_bytes(b"half")
    lock = os.open(draft, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = run("calibrate", int8_bundle, rows, "--output", tmp_path / "new")
    assert (done.returncode, "another run is writing it" in done.stderr) == (1, True), done.stderr
    assert (draft / "model.onnx").read_bytes() == b"half" and not (tmp_path / "new").exists()
    os.close(lock)
    done = run("calibrate", int8_bundle, rows, "--output", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert Bundle.open(tmp_path / "new").manifest.confidence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "rows.csv"]


def write_labelled(path: Path, rows: Iterable[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "context", "expected"), *rows])
    return path


def test_each_right_answer_of_a_question_counts(tmp_path: Path) -> None:
    rows = [
        ("Who?", "Ada and Bob.", "Ada"),
        ("Who?", "Ada and Bob.", "Bob"),
        ("Who?", "Bob.", "Bob"),
        ("Why?", "C.", ""),
    ]
    given = ["bundle", str(write_labelled(tmp_path / "rows.csv", rows)), "--output", "new"]
    labelled = {("Who?", "Ada and Bob."): {"Ada", "Bob"}, ("Who?", "Bob."): {"Bob"}}
    assert labelled_rows(arguments(given)) == labelled
    assert labelled_rows(arguments([*given, "--no-answer"])) == {**labelled, ("Why?", "C."): {""}}


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_rows_that_are_all_right_leave_a_doubt(label: float) -> None:
    """A hundred of a hundred: the next one is right with a probability of 101/102, and not for certain."""
    inputs, right = labelled(100)
    odds = inputs @ confidence.fit(inputs, np.full_like(right, label))
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(np.full(100, (1 + 100 * label) / 102), abs=1e-3)


def test_no_answer_takes_part_in_the_confidence(int8_bundle: Path, tmp_path: Path) -> None:
    """Every other question is asked about a passage that holds no answer to it, which its empty cell says."""
    rows = [(row["question"], row["context"], row["expected"]) for row in sample_rows() if row["expected"]]
    short = sorted(rows, key=lambda row: len(row[1]))[:60]
    strange = [
        (question, context, "") for (question, *_), (_, context, _) in zip(short, short[30:] + short, strict=False)
    ]
    given = write_labelled(tmp_path / "mine.csv", [*short, *strange])
    done = run("calibrate", int8_bundle, given, "--output", tmp_path / "new", "--no-answer")
    assert done.returncode == 0, done.stderr
    calibrated = Answerer.load(tmp_path / "new")
    manifest = calibrated.bundle.manifest
    assert manifest.decoding.handle_impossible_answer
    assert manifest.confidence is not None and manifest.confidence.rows == 120
    # The shipped checkpoint hardly ever says so; where it does, it is as sure as of any other answer.
    sure = [answer.confidence or 0.0 for answer in calibrated.answer([row[:2] for row in [*short[:9], *strange[:9]]])]
    assert np.mean(sure[:9]) > np.mean(sure[9:]) and min(sure) > 0


def test_the_option_is_judged_before_anything_is_written(int8_bundle: Path, tmp_path: Path) -> None:
    for words, code, message in (
        (("--second-look", "sometimes"), 2, "it takes off, auto or a ratio"),
        (("--second-look", "2"), 2, "is not between 0 and 1"),
        (("--min-confidence", "0.5"), 1, "answermill calibrate"),
    ):
        done = run("answer", SAMPLES / "news.csv", tmp_path / "out", "--model", int8_bundle, *words)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
    assert not list(tmp_path.glob("out/*.csv"))


@pytest.mark.parametrize(
    "words",
    [
        *(("--second-look", text) for text in ("nan", "AUTO", "1.01", "-0.1")),
        *(("--min-confidence", text) for text in ("nan", "80", "-0.1", "80%")),
        ("--min-score", "nan"),
    ],
)
def test_a_limit_is_a_number_that_makes_sense(words: tuple[str, str]) -> None:
    """No score is below `nan`, so it would let every answer pass; a confidence of 80 would let none."""
    with pytest.raises(SystemExit, match="2"):
        options.arguments(["in", "out", *words])


def test_the_schema_knows_the_second_look(int8_bundle: Path) -> None:
    import jsonschema

    schema = json.loads((ROOT / "export/manifest.schema.json").read_text("utf-8"))
    jsonschema.validate(json.loads((int8_bundle / "manifest.json").read_text("utf-8")), schema)
