"""`answer --format`: Parquet and NDJSON hold what the CSV holds, row for row, and runs go on as with CSVs."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.answering import formats
from stages.answering.formats import open_answers, target_name
from stages.answering.rows import Columns
from stages.csvs.reader import read_frames
from tests.conftest import ROOT, Stage
from tests.stages.test_answer_faults import tree
from tests.stages.test_answer_mirror import ROWS, run, write

# Texts that a format could spoil, a row that cannot be answered, and columns called as ours.
ODD = [
    ["question", "context", "score", 'a\ufeff,"b"\n', "", "rank"],
    ["Who lit it?", 'Mara "lit" it,\r\nhe said.\u2028\ufeff', "007", "", "NULL", "1e5"],
    ["", "The kiln.", "", "x", "\\N", ""],
    ["When?", "  It was Tuesday \U0001f600\x7f\x1b.", "NaN", "-0", " ", "true"],
]
NUMBERS = {"score": float, "confidence": float, "start": int, "end": int, "rank": int}


def odd(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    text = io.StringIO(newline="")
    csv.writer(text).writerows(ODD)
    path.write_bytes(text.getvalue().encode() + b'"",,"","",,""\n')
    return path.parent


def rows_of(path: Path, prefix: str = "") -> list[dict[str, object]]:
    """The rows of answers in any format; of a CSV with the numbers that it spells."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    if path.suffix == ".ndjson":
        return [json.loads(line) for line in path.read_bytes().decode().removesuffix("\n").split("\n")]
    # Without ranks a column of that name is the user's own.
    numbers = {prefix + name: kind for name, kind in NUMBERS.items() if prefix or name != "rank"}
    # polars leaves quotes in a header doubled.
    frame = pl.concat(frame for frame, _ in read_frames(path, ()))
    return [
        {name: numbers[name](value) if name in numbers and value is not None else value for name, value in row.items()}
        for row in frame.to_dicts()
    ]


@pytest.mark.parametrize("options", [(), ("--top-k", 3, "--prefix", "qa_")], ids=["best", "ranks"])
def test_every_format_holds_the_rows_of_the_csv(
    stage: Stage, tmp_path: Path, int8_bundle: Path, options: tuple[object, ...]
) -> None:
    """Same rows, order, columns and text; null stays null and nothing stays nothing; numbers are numbers."""
    source = odd(tmp_path / "in/a.csv")
    rows = {}
    for kind in ("csv", "parquet", "ndjson"):
        run(stage, source, tmp_path / kind, int8_bundle, "--format", kind, *options)
        assert [path for path in tree(tmp_path / kind) if not path.startswith((".", "run"))] == [f"a.{kind}"]
        rows[kind] = rows_of(tmp_path / kind / f"a.{kind}", "qa_" if options else "")
    assert rows["parquet"] == rows["csv"]
    assert rows["ndjson"] == rows["csv"]
    assert list(rows["ndjson"][0]) == list(rows["csv"][0])
    kinds = pl.read_parquet_schema(tmp_path / "parquet/a.parquet")
    prefix, last = ("qa_", "qa_rank") if options else ("", "end")
    assert [str(kinds[f"{prefix}{name}"]) for name in ("score", "confidence")] == ["Float64", "Float64"]
    assert [str(kinds[name]) for name in (f"{prefix}start", last)] == ["Int64", "Int64"]


@pytest.mark.parametrize("kind", ["parquet", "ndjson"])
def test_a_run_goes_on_in_every_format(stage: Stage, tmp_path: Path, int8_bundle: Path, kind: str) -> None:
    """What is done is skipped, equal rows are reused from any format, and the other format's files go."""
    source, out = tmp_path / "in", tmp_path / "out"
    write(source / "a.csv", ROWS[:3])
    write(source / "b.csv", ROWS[3:5])
    run(stage, source, out, int8_bundle, "--format", kind)
    first = tree(out)
    assert "unchanged_files=2" in run(stage, source, out, int8_bundle, "--format", kind)
    assert tree(out) == first
    write(source / "a.csv", [*ROWS[:3], ROWS[6]])
    (source / "b.csv").unlink()
    assert "reused_rows=3 " in run(stage, source, out, int8_bundle, "--format", kind)
    assert f"b.{kind}" not in tree(out)
    told = run(stage, source, tmp_path / "other", int8_bundle, "--reuse", out)
    assert "reused_rows=4 " in told
    assert "reused_rows=4 " in run(stage, source, out, int8_bundle, "--reuse", tmp_path / "other")
    assert f"a.{kind}" not in tree(out)
    assert rows_of(out / "a.csv") == rows_of(tmp_path / "other/a.csv")
    run(stage, source / "a.csv", out, int8_bundle, "--format", kind)
    assert [path for path in tree(out) if path.startswith("a.")] == [f"a.{kind}"]


def test_a_file_with_a_header_alone_has_its_columns(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    write(tmp_path / "in/a.csv", [])
    run(stage, tmp_path / "in", tmp_path / "out", int8_bundle, "--format", "parquet")
    frame = pl.read_parquet(tmp_path / "out/a.parquet")
    assert frame.shape == (0, 9)
    assert frame.columns[:3] == ["question", "context", "answer"]


def test_an_interrupted_conversion_loses_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole CSV stays, under the name by which the next run finds what an interrupted one left."""
    target, partial = tmp_path / "a.parquet", tmp_path / ".a.partial"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "_convert", interrupted)
    columns = Columns("question", "context", "")
    with pytest.raises(KeyboardInterrupt), open_answers(target, partial, columns, "parquet") as file:
        file.write(b"question,context\n")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {".a.kept": b"question,context\n"}


def test_a_pipe_takes_ndjson_and_refuses_parquet(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    write(tmp_path / "a.csv", ROWS[:2])
    command = [sys.executable, "-m", "stages.answer", "-", "-", "--model", str(int8_bundle), "--format", "ndjson"]
    piped = subprocess.run(command, cwd=ROOT, input=(tmp_path / "a.csv").read_bytes(), capture_output=True, check=True)
    lines = [json.loads(line) for line in piped.stdout.decode().splitlines()]
    assert [line["question"] for line in lines] == [question for question, _ in ROWS[:2]]
    assert all(line["context"][line["start"] : line["end"]] == line["answer"] for line in lines)
    done = stage("answer", "-", "-", "--model", int8_bundle, "--format", "parquet")
    assert done.returncode == 2
    assert "name a folder, or give --format ndjson" in done.stderr


NAMES = st.text(st.sampled_from("ab.cCsSvV"), min_size=1).map(lambda stem: f"{stem}.csv") | st.text(
    st.sampled_from("ab.cCsSvV"), min_size=1
).map(lambda stem: f"{stem}.CSV")


@given(st.sets(NAMES, max_size=30))
def test_no_two_csvs_share_a_path(names: set[str]) -> None:
    for kind in ("csv", "parquet"):
        assert len({target_name(name, kind) for name in names}) == len(names)
