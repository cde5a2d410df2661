"""Two runs compared: which rows differ, which run is right, and what a terminal and a program are told."""

import json
import os
import random
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from math import comb
from pathlib import Path

import pytest

from runtime.errors import InputError
from stages.common.names import part_path
from stages.comparing.comparison import Comparison
from stages.comparing.counts import sign_test
from stages.comparing.options import arguments
from stages.comparing.pairs import FilePairs
from stages.csvs.answered import answered_files
from tests.conftest import ROOT, Stage
from tests.support.rows import write_rows

HEADER = ("question", "context", "expected", "answer", "score", "confidence", "start", "end", "error", "model")
PASSAGE = "Ada called Bob at noon from Lima."


def row(answer: str, expected: str = "", *, model: str = "old", **changes: str) -> dict[str, str]:
    start = PASSAGE.find(answer)
    place = {"start": str(start), "end": str(start + len(answer)), "score": "0.9", "confidence": "0.8"}
    given = {"question": "Who?", "context": PASSAGE, "expected": expected, "answer": answer, "model": model}
    return dict.fromkeys(HEADER, "") | given | (place if answer else {}) | changes


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two files: the new run mends a row, breaks another, fails one; one row was asked about something else."""
    old = [row("Ada", "Ada"), row("Bob", "Ada"), row("Lima", "Lima"), row("noon", "noon"), row("Ada")]
    new = [row("Ada", "Ada", model="new"), row("Ada", "Ada", model="new"), row("Ada called", "Lima", model="new")]
    new += [row("", "noon", model="new", error="too long"), row("Ada", model="new", question="What?")]
    return write_rows(tmp_path / "old.csv", old), write_rows(tmp_path / "new.csv", [*new, row("Bob", model="new")])


GOLDEN = """\
old.csv, row 2: Who?
  A  0.90  0.80  Bob  [11:14]  wrong
  B  0.90  0.80  Ada  [0:3]    right
  expected      Ada

old.csv, row 3: Who?
  A  0.90  0.80  Lima  [28:32]       right
  B  0.90  0.80  Ada called  [0:10]  wrong
  expected      Lima

… and 1 more that differ; --limit shows more

A: {a}, model old
B: {b}, model new

rows compared   4
say the same    1 (25.00%)
only in B       1
asked otherwise 1
labelled        4

                        A         B
exact match        75.00%    50.00%
F1                 75.00%    50.00%
right alone             2         1
sign test: p = 1
"""


def test_the_rows_that_differ_and_the_figures(runs: tuple[Path, Path], stage: Stage) -> None:
    done = stage("compare", *runs, "--limit", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == GOLDEN.format(a=runs[0], b=runs[1])


def test_json_says_the_same_as_one_object(runs: tuple[Path, Path], stage: Stage) -> None:
    done = stage("compare", *runs, "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    figures = {name: report[name] for name in ("rows", "agreeing", "only_a", "only_b", "asked_otherwise", "labelled")}
    assert figures == {"rows": 4, "agreeing": 1, "only_a": 0, "only_b": 1, "asked_otherwise": 1, "labelled": 4}
    assert (report["a"]["exact_match"], report["b"]["exact_match"], report["sign_test_p"]) == (0.75, 0.5, 1.0)
    assert [(each["row"], each["a"]["answer"], each["b"]["answer"]) for each in report["differences"]] == [
        (2, "Bob", "Ada"),
        (3, "Lima", "Ada called"),
        (4, "noon", ""),
    ]
    assert report["differences"][2]["b"]["error"] == "too long"


def test_the_user_names_the_column_of_right_answers(tmp_path: Path, stage: Stage) -> None:
    """A user's `answer` is `given_answer` in the CSV; the user says `answer`."""
    a = write_rows(tmp_path / "a.csv", [row("Ada") | {"given_answer": "Ada"}])
    b = write_rows(tmp_path / "b.csv", [row("Bob") | {"given_answer": "Ada"}])
    report = json.loads(stage("compare", a, b, "--json", "--expected", "answer").stdout)
    assert (report["labelled"], report["a"]["right_only"], report["b"]["right_only"]) == (1, 1, 0)
    wrong = stage("compare", a, b, "--expected", "gold")
    assert wrong.returncode == 1
    assert "--expected gold: no compared row has a value in this column" in wrong.stderr


def test_without_labels_nobody_is_right(tmp_path: Path, stage: Stage) -> None:
    a, b = write_rows(tmp_path / "a.csv", [row("Ada")]), write_rows(tmp_path / "b.csv", [row("Bob", confidence="")])
    done = stage("compare", a, b)
    assert "  B  0.90    -   Bob  [11:14]\n" in done.stdout
    assert "sign test" not in done.stdout
    report = json.loads(stage("compare", a, b, "--json").stdout)
    assert (report["labelled"], report["a"]["f1"], report["sign_test_p"]) == (0, None, None)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (4, 4, 1.0), (5, 0, 0.0625), (0, 10, 0.001953125), (3, 7, 0.34375), (9, 1, 0.021484375)],
)
def test_the_sign_test_of_the_tables(only_a: int, only_b: int, p: float) -> None:
    assert sign_test(only_a, only_b) == p


def test_the_sign_test_is_the_sum_of_binomials() -> None:
    for a, b in ((20, 35), (1000, 1100), (0, 2000), (999, 1000)):
        tail = Fraction(sum(comb(a + b, count) for count in range(min(a, b) + 1)), 2 ** (a + b))
        assert sign_test(a, b) == sign_test(b, a) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-12)


# Answers of two runs, the right answer, and what SQuAD's metric gives them, worked out by hand: exact match, F1.
Marks = tuple[float, float]
JUDGED: list[tuple[str, str, str, Marks, Marks]] = [
    ("Ada called", "Ada", "Ada", (0, 2 / 3), (1, 1)),
    ("from Lima", "noon from Lima", "Lima", (0, 2 / 3), (0, 1 / 2)),
    ("Bob at noon", "Bob", "the Bob!", (0, 1 / 2), (1, 1)),
    ("", "Lima", "noon", (0, 0), (0, 0)),
    ("called Bob", "Ada called", "Ada called Bob", (0, 4 / 5), (0, 4 / 5)),
    ("at noon", "noon", "at noon", (1, 1), (0, 2 / 3)),
]


def test_exact_match_and_f1_are_those_worked_out_by_hand(tmp_path: Path, stage: Stage) -> None:
    a = write_rows(tmp_path / "a.csv", [row(answer, expected) for answer, _, expected, *_ in JUDGED])
    b = write_rows(tmp_path / "b.csv", [row(answer, expected) for _, answer, expected, *_ in JUDGED])
    report = json.loads(stage("compare", a, b, "--json").stdout)
    sides = {"a": [marks for *_, marks, _ in JUDGED], "b": [marks for *_, marks in JUDGED]}
    for side, marks in sides.items():
        assert report[side]["exact_match"] == pytest.approx(sum(exact for exact, _ in marks) / len(JUDGED))
        assert report[side]["f1"] == pytest.approx(sum(f1 for _, f1 in marks) / len(JUDGED))
    assert (report["a"]["right_only"], report["b"]["right_only"]) == (1, 2)
    # Of three rows one run is always right on at most one.
    assert report["sign_test_p"] == 1.0


def test_nine_rows_against_one_are_hardly_chance(tmp_path: Path, stage: Stage) -> None:
    wrong, right = row("Bob", "Ada"), row("Ada", "Ada")
    a = write_rows(tmp_path / "a.csv", [*[wrong] * 9, right, right])
    b = write_rows(tmp_path / "b.csv", [*[right] * 9, wrong, right])
    assert stage("compare", a, b).stdout.endswith("sign test: p = 0.02148\n")


def test_of_several_ranks_the_first_is_compared(tmp_path: Path, stage: Stage) -> None:
    """One run was asked for its three best answers, the other for one."""
    order = (*HEADER[:3], "rank", *HEADER[3:])
    ranks = [row(answer) | {"rank": str(rank)} for rank, answer in enumerate(("Ada", "Bob", "Lima"), 1)]
    several = write_rows(tmp_path / "a.csv", [{name: each[name] for name in order} for each in ranks * 2])
    one = write_rows(tmp_path / "b.csv", [row("Ada"), row("Bob")])
    report = json.loads(stage("compare", several, one, "--json").stdout)
    assert (report["rows"], report["agreeing"], report["only_a"]) == (2, 1, 0)


def test_a_run_compared_with_itself_is_the_same(tmp_path: Path, stage: Stage) -> None:
    a = write_rows(tmp_path / "a.csv", [row("Ada", "Ada"), row("Bob", "Ada")])
    report = json.loads(stage("compare", a, a, "--json").stdout)
    assert (report["agreement"], report["sign_test_p"], report["differences"]) == (1.0, 1.0, [])


def test_a_terminal_obeys_no_text_of_the_rows(tmp_path: Path, stage: Stage) -> None:
    hostile = "\x1b[31m\x9b2J\x07\r\u2028\x00red".replace("\x00", "")
    texts = dict.fromkeys(("question", "context", "expected", "model"), hostile)
    name = "\x1b]0;a.csv"
    a = write_rows(tmp_path / "a" / name, [row(hostile, **texts)])
    b = write_rows(tmp_path / "b" / name, [row("", error=hostile, **texts)])
    done = stage("compare", a.parent, b.parent)
    assert done.returncode == 0
    assert not set("\x1b\x9b\x07\r\u2028") & set(done.stdout)
    assert r"\x1b[31m\x9b2J\x07\r\u2028red" in done.stdout
    told = stage("compare", a.parent, b.parent, "--json").stdout
    assert told.isascii()
    assert json.loads(told)["differences"][0]["a"]["answer"] == hostile


def test_names_that_are_not_utf8_and_odd_locales_are_written(tmp_path: Path) -> None:
    for folder, answer in (("a", "Ada"), ("b", "Bob")):
        write_rows(Path(os.fsdecode(os.fsencode(tmp_path / folder) + b"/caf\xe9.csv")), [row(answer, question="Où ?")])
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}
    for words in ([], ["--json"]):
        command = [sys.executable, "-m", "stages.compare", str(tmp_path / "a"), str(tmp_path / "b"), *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode("utf-8")


def test_parts_of_one_file_belong_together(tmp_path: Path, stage: Stage) -> None:
    """One run was cut into parts, the other was not: the rows are the same."""
    whole = write_rows(tmp_path / "whole/x/a.csv", [row("Ada"), row("Bob"), row("Lima"), row("noon")])
    write_rows(tmp_path / "cut/x/a.csv", [row("Ada"), row("Bob")])
    write_rows(tmp_path / "cut/x/a.csv.parts/row-0000000003.csv", [row("Lima"), row("Ada")])
    report = json.loads(stage("compare", whole.parent.parent, tmp_path / "cut", "--json").stdout)
    assert (report["rows"], report["agreeing"], report["only_a"], report["only_b"]) == (4, 3, 0, 0)
    assert [(each["file"], each["row"]) for each in report["differences"]] == [("x/a.csv", 4)]


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_matched_by_number_wherever_runs_are_cut(seed: int, tmp_path: Path) -> None:
    """Either run may lack rows, in front, between and behind; sets of the rows' numbers are the oracle."""
    draw = random.Random(seed)
    numbers: list[set[int]] = []
    for folder in ("a", "b"):
        cuts = [1, *sorted(draw.sample(range(2, 40), 5)), 40]
        rows = [(first, draw.randint(1, after - first)) for first, after in pairwise(cuts) if draw.random() < 0.7]
        for first, count in rows:
            write_rows(tmp_path / folder / part_path("x.csv", first), [row("Ada")] * count)
        numbers.append({first + place for first, count in rows for place in range(count)})
    runs = tmp_path / "a", tmp_path / "b"
    comparison = Comparison(arguments(list(map(str, runs))))
    comparison.read()
    a, b = numbers
    assert (comparison.counts.rows, comparison.counts.only) == (len(a & b), [len(a - b), len(b - a)])
    files = [next(iter(answered_files(run).items())) for run in runs]
    assert [pair.row for pair in FilePairs("x.csv", files[0][1], files[1][1], comparison.options)] == sorted(a & b)


def test_one_row_of_a_file_is_in_memory_at_a_time(tmp_path: Path) -> None:
    """The first pair is there before the third row is looked at; all rows of a file took 1.4 KB each."""
    a = write_rows(tmp_path / "a.csv", [row("Ada"), row("Bob"), row("Ada", score="none")])
    pairs = iter(FilePairs("a.csv", {"a.csv": a}, {"a.csv": a}, arguments([str(a), str(a)])))
    assert next(pairs).row == 1
    with pytest.raises(InputError, match="is no number"):
        list(pairs)


def test_a_part_that_was_left_over_is_refused(tmp_path: Path, stage: Stage) -> None:
    for folder in ("a", "b"):
        write_rows(tmp_path / folder / "x.csv", [row("Ada"), row("Bob")])
        write_rows(tmp_path / folder / "y.csv", [row("Ada")])
    write_rows(tmp_path / "b/x.csv.parts/row-0000000002.csv", [row("Lima")])
    done = stage("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert done.returncode == 1
    assert "another part of this file has the row, too" in done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["only_a"], report["failed_files"]) == (1, 0, ["x.csv"])


def test_files_that_only_one_side_has_are_counted(tmp_path: Path, stage: Stage) -> None:
    for folder, files in (("a", ("x", "y")), ("b", ("x", "z"))):
        for name in files:
            write_rows(tmp_path / folder / f"{name}.csv", [row("Ada"), row("Bob")])
    (tmp_path / "b/rejected").mkdir()
    (tmp_path / "b/rejected/q.csv.json").write_text("{}")
    report = json.loads(stage("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert (report["rows"], report["only_a"], report["only_b"]) == (2, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (("a.csv", "none.csv"), "none.csv: no such file or folder"),
        (("a.csv", "folder"), "are a file and a folder; give two CSVs, or two folders"),
        (("folder", "other"), "have no row in common"),
        (("a.csv", "turned.csv"), "ask different questions in 1 of the 1 rows that both have, first in a.csv, row 1"),
        (("folder", "tables"), "tables: no CSV in it; compare reads what the answer stage writes with --format csv"),
        (("a.csv", "raw.csv"), 'column "answer"'),
    ],
)
def test_what_cannot_be_compared_is_said(make: tuple[str, str], message: str, tmp_path: Path, stage: Stage) -> None:
    write_rows(tmp_path / "a.csv", [row("Ada")])
    write_rows(tmp_path / "folder/x.csv", [row("Ada")])
    write_rows(tmp_path / "other/y.csv", [row("Ada")])
    write_rows(tmp_path / "turned.csv", [row("Ada", question="Where?"), row("Ada")])
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/x.csv.parquet").write_bytes(b"PAR1")
    write_rows(tmp_path / "raw.csv", [{"question": "Who?", "context": PASSAGE}])
    done = stage("compare", *(tmp_path / name for name in make))
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ranks", [(1,), (1, 2), (2, 1)])
@pytest.mark.parametrize(
    ("column", "text"), [("score", "abc"), ("confidence", "nan"), ("start", "1e3"), ("end", "x" * 99)]
)
def test_a_number_that_is_none_has_its_place(
    ranks: tuple[int, ...], column: str, text: str, tmp_path: Path, stage: Stage
) -> None:
    """In a second rank, too, where a ValueError came out as it was."""
    rows = [{"question": "Who?", "rank": str(rank), **row("Ada")} for rank in (1, 2)[: len(ranks)]]
    header = ["question", "context", "expected", "rank", *HEADER[3:]]
    rows[ranks[0] - 1][column] = text
    run = write_rows(tmp_path / "a.csv", [{name: each[name] for name in header} for each in rows])
    for command in (("compare", run, run), ("view", run, "--output", tmp_path / "page.html")):
        done = stage(*map(str, command))
        assert done.returncode == 1
        assert f"a.csv: row 1, column \"{column}\": '{text[:40]}' is no number; answer the file again" in done.stderr
        assert "Traceback" not in done.stderr


def test_usage_is_two(stage: Stage) -> None:
    assert stage("compare", "one").returncode == 2
    assert stage("compare", "one", "two", "--limit", "0").returncode == 2


def test_runs_that_match_in_a_few_rows_only_are_not_compared(tmp_path: Path, stage: Stage) -> None:
    """Sorted otherwise, two of seven rows stand where they stood: figures of these two would be of no use."""
    rows = [row("Ada", question=f"Who was number {number}?") for number in range(7)]
    a = write_rows(tmp_path / "a.csv", rows)
    done = stage("compare", a, write_rows(tmp_path / "b.csv", [*rows[:2], *rows[3:], rows[2]]), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{a} and {tmp_path}/b.csv ask different questions in 5 of the 7 rows that both have" in done.stderr
    assert "first in a.csv, row 3; name two runs" in done.stderr
    # Of most rows there is something to say, and of how many there is not.
    done = stage("compare", a, write_rows(tmp_path / "b.csv", [*rows[:4], rows[5], rows[4], rows[6]]))
    assert done.returncode == 0, done.stderr
    assert "asked otherwise 2\n" in done.stdout


def test_a_p_that_no_float_can_hold_is_not_said_to_be_nil(tmp_path: Path, stage: Stage) -> None:
    right, wrong = [row("Ada", "Ada")] * 1200, [row("Bob", "Ada")] * 1200
    a, b = write_rows(tmp_path / "a.csv", right), write_rows(tmp_path / "b.csv", wrong)
    done = stage("compare", a, b)
    assert done.returncode == 0, done.stderr
    assert "sign test: p < 1e-300\n" in done.stdout
    assert json.loads(stage("compare", a, b, "--json").stdout)["sign_test_p"] == 1e-300
