"""Benchmarks end as every command does if what they need is not there: one line, exit code 1."""

from collections.abc import Callable, Sequence

import pytest

from benchmarks import datums, load, plots, shapes
from benchmarks import runtime as answering

Main = Callable[[Sequence[str]], int]


@pytest.mark.parametrize(
    ("main", "words", "told"),
    [
        (shapes.main, ["--model", "nowhere"], "no bundle at nowhere: make one with"),
        (datums.main, ["--model", "nowhere", "--datums", "1"], "no bundle at nowhere: make one with"),
        (load.main, ["--rows", "1", "--database", "host=/nowhere"], "--database: "),
        (answering.main, ["nowhere.csv"], "nowhere.csv cannot be read: FileNotFoundError"),
        (plots.main, ["nowhere.md", "--value", "x", "--output", "x.svg"], "nowhere.md: No such file"),
    ],
)
def test_what_is_missing_is_told_without_a_traceback(
    main: Main, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    shown = capsys.readouterr().err
    assert told in shown
    assert "Traceback" not in shown
