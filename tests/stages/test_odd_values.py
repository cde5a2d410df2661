"""Values and state that make no sense, of every kind: one line that names them, never a traceback, never a wait."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import AnswermillError, OptionError
from stages.answering.options import arguments as answer_arguments
from stages.common.mirror import Mirror, open_mirror
from stages.ingesting.options import arguments as ingest_arguments
from stages.ingesting.places import open_source
from stages.loading.judging import judge_by_listing
from stages.loading.listing import read_listing
from stages.loading.options import arguments as load_arguments
from tests.conftest import ROOT

Stage = Callable[..., subprocess.CompletedProcess[str]]
NOT_UTF8 = "x\udcff"


@pytest.mark.parametrize(
    "words",
    [
        ("ingest", "", "out"),
        ("ingest", "in", ""),
        ("answer", "", "out"),
        ("answer", "in", ""),
        ("answer", "in", "out", "--model", ""),
        ("answer", "in", "out", "--reuse", ""),
        ("load", "", "out"),
        ("load", "in", ""),
        ("load", "in", "out", "--listing", ""),
        ("compare", "", "b"),
        ("view", "in", "--output", ""),
        ("calibrate", "", "rows.csv", "--output", "out"),
        ("export", "in", "--output", ""),
        ("run", "--root", ""),
    ],
)
def test_an_empty_path_is_not_this_folder(words: tuple[str, ...], tmp_path: Path) -> None:
    """An unset variable in a script gives one; pathlib takes it for `.`, and a mirror would be made of that."""
    command = [sys.executable, "-m", "answermill", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is empty; say . for this folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [("--table", NOT_UTF8), ("--schema", NOT_UTF8), ("--columns", f"{NOT_UTF8}:int")])
def test_a_name_that_is_not_utf8_is_no_name(stage: Stage, tmp_path: Path, option: tuple[str, str]) -> None:
    (tmp_path / "in").mkdir()
    done = stage("load", tmp_path / "in", tmp_path / "out", *option, DATABASE_URL="postgresql://127.0.0.1:1/db")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert rf"{option[0]}: 'x\udcff' is not a name" in done.stderr


@pytest.mark.parametrize("variable", ["DATABASE_URL", "PGHOST", "PGUSER", "PGDATABASE"])
def test_a_variable_that_is_not_utf8_is_named(stage: Stage, tmp_path: Path, variable: str) -> None:
    (tmp_path / "in").mkdir()
    variables = {"DATABASE_URL": "", variable: f"postgres{NOT_UTF8}"}
    done = stage("load", tmp_path / "in", tmp_path / "out", "--retry-for", "0", **variables)
    assert done.returncode == 1
    assert f"{variable} is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert NOT_UTF8 not in done.stderr


def test_a_prefix_that_is_not_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        answer_arguments(["in", "out", "--prefix", NOT_UTF8])
    assert "--prefix is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["gs://", "gs:///x", "gcs:///", "gs://b\udcff/x", "gs://a b/x", "gs://user@/x"])
def test_a_bucket_without_a_name_is_not_tried_again(url: str) -> None:
    with pytest.raises(OptionError, match="names no bucket; write gs://BUCKET/PREFIX"):
        open_source(url, 1)


def test_options_are_read_all_the_same() -> None:
    """Paths that are not UTF-8 are names of files like any other."""
    assert ingest_arguments([".", NOT_UTF8]).output == Path(NOT_UTF8)
    assert answer_arguments([".", NOT_UTF8]).input == Path()
    assert load_arguments([NOT_UTF8, "out"]).input == Path(NOT_UTF8)


GOOD: dict[str, Any] = {
    "version": 1,
    "listed_at": "2026-11-25T20:00:00+00:00",
    "complete": True,
    "files": {"a.csv": {"file": "a.csv", "first_row": 1, "rows": 1}},
    "rejected": {"rejected/b.csv.json": "b.csv"},
    "objects": {"a.csv": {"version": "1", "checksum": "", "size": 1}},
}
ODD: list[Any] = [
    None, True, 0, -1, 10**31, float("inf"), float("nan"), 0.5, "", "x", "a\0b", "\ud800", [], [[]], {},
    {"a": {"b": 1}},
    "0001-01-01T00:00:00", "9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
]  # fmt: skip


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where something stands in a JSON value."""
    yield path
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*path, name))


def changed(value: Any, path: tuple[str, ...], odd: Any) -> Any:
    if not path:
        return odd
    return {**value, path[0]: changed(value[path[0]], path[1:], odd)}


def test_a_listing_of_any_shape_proves_nothing_or_something(tmp_path: Path) -> None:
    """Every field of ingest's listing with a value of every kind: prune takes it, or refuses it in one line."""
    listing = tmp_path / "listing.json"
    refused = 0
    for path in places(GOOD):
        for odd in ODD:
            listing.write_text(json.dumps(changed(GOOD, path, odd)))
            try:
                judge_by_listing([], {}, set(), read_listing(listing), 2_000_000)
            except AnswermillError as error:
                refused += 1
                assert "\n" not in str(error)
                assert str(listing) in str(error)
    assert refused > 150


LINES = {
    "empty": b"",
    "cut": b'["a.csv", "12',
    "garbage": b"\x00\xff\xfe{\n",
    "null": b"null\n",
    "a number": b"9" * 5000 + b"\n",
    "numbers": b"[1, 2]\n[NaN, Infinity]\n",
    "deep": b"[" * 200_000,
    "a text": b'"ab"\n',
    "an object": b'{"a": 1, "b": 2}\n',
    "outside": b'["../../x", null]\n["/etc/x", "y"]\n["a\\u0000b", "x"]\n',
    "half a character": b'["\\ud800", "x"]\n["a\\udfffb", null]\n',
    "wrong types": b'["a.csv", 3]\n["a.csv", ["x"]]\n[["a.csv"], "x"]\n',
}


@pytest.mark.parametrize("damage", LINES)
def test_a_damaged_listing_of_a_stage_stops_no_run(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What it still says is kept, the rest is said; the file that it alone named stays."""
    (tmp_path / ".ingest.listing").write_bytes(b'["b.csv", "digest"]\n' + LINES[damage])
    for name in ("b.csv", "c.csv"):
        (tmp_path / name).write_text("x")
    with open_mirror(tmp_path, "ingest") as mirror:
        assert mirror.paths() == ["b.csv"]
        mirror.intend(["d.csv"])
        mirror.mark_whole("d.csv", "digest")
        assert mirror.settle(["d.csv"]) == ["b.csv"]
    assert (tmp_path / "c.csv").exists()
    assert Mirror.read(tmp_path, "ingest") == {"d.csv": "digest"}
    assert ("damaged" in caplog.text) is (damage != "empty")


def test_a_pipe_in_the_place_of_a_listing_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".ingest.listing")
    with (
        pytest.raises(AnswermillError, match=r"\.ingest\.listing: not a regular file; remove it"),
        open_mirror(tmp_path, "ingest"),
    ):
        pass
