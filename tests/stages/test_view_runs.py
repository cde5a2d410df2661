"""What the page of answers knows of its rows: whose they are, how right they are, and what another run said."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import OptionError
from stages import view
from stages.common.mirror import open_mirror
from stages.csvs.answered import AnsweredRow, Choice, Names
from stages.viewing.reading import CsvRun, OtherRun
from tests.conftest import Stage
from tests.stages.test_view_size import data_of
from tests.support.pages import answered
from tests.support.rows import write_rows

PASSAGE = "Ada called Bob at noon."
# Right, wrong, failed, not labelled; without an answer where none is labelled, and with one.
ROWS = [
    answered("1", PASSAGE, "Ada"),
    answered("2", PASSAGE, "Ada", expected="Ada called"),
    answered("3", PASSAGE, "", start="", end="", error="too long", expected="Ada"),
    answered("4", PASSAGE, "", start="", end="", expected=""),
    answered("5", PASSAGE, "noon", expected=""),
]


def data(tmp_path: Path, *words: object) -> dict[str, object]:
    """What the page made with these words holds."""
    page = tmp_path / "page.html"
    assert view.view(view.arguments([*map(str, words), "--output", str(page)])) == 0
    return dict(data_of(page))


@pytest.mark.parametrize(
    ("words", "labelled", "exact", "overlap"),
    [([], 3, 1 / 3, (1 + 2 / 3) / 3), (["--blank-is-no-answer"], 5, 2 / 5, (2 + 2 / 3) / 5)],
)
def test_view_and_compare_have_the_same_figures(
    tmp_path: Path, stage: Stage, words: list[str], labelled: int, exact: float, overlap: float
) -> None:
    """A row that failed is wrong. A blank label means that nothing is known, or that there is no answer, as asked."""
    source = write_rows(tmp_path / "a.csv", ROWS)
    survey = data(tmp_path, source, *words)["survey"]
    assert isinstance(survey, dict)
    assert [survey["expected"], survey["exact"], survey["f1"]] == pytest.approx([labelled, exact, overlap])
    report = json.loads(stage("compare", source, source, "--json", *words).stdout)
    assert report["labelled"] == labelled
    assert report["a"]["exact_match"] == pytest.approx(exact)
    assert report["a"]["f1"] == pytest.approx(overlap)


def test_a_file_without_the_column_has_no_blank_labels(tmp_path: Path) -> None:
    """Only a blank field says that there is no answer, not a column that is missing."""
    rows = [{name: text for name, text in row.items() if name != "expected"} for row in ROWS]
    write_rows(tmp_path / "in/a.csv", rows)
    survey = data(tmp_path, tmp_path / "in", "--blank-is-no-answer")["survey"]
    assert isinstance(survey, dict)
    assert survey["expected"] == 0


def test_a_column_of_labels_that_no_row_has_is_an_error(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.csv", ROWS)
    with pytest.raises(OptionError, match="--expected gold: no row has a value in this column"):
        data(tmp_path, source, "--expected", "gold")


def test_the_database_says_the_same_of_blank_labels(database: str, tmp_path: Path, stage: Stage) -> None:
    """In the table the label is a part of `extra`."""
    source = write_rows(tmp_path / "in/a.csv", ROWS).parent
    assert stage("load", source, tmp_path / "out", DATABASE_URL=database).returncode == 0
    page = tmp_path / "page.html"
    done = stage("view", "--database", "--blank-is-no-answer", "--output", page, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert data_of(page)["survey"]["expected"] == 5


def answered_folder(folder: Path) -> Path:
    """What `answer` leaves."""
    names = ["a.csv", "d/b.csv", "d/b.csv.parts/row-0000000003.csv", "d/c.csv"]
    for name in names:
        write_rows(folder / name, ROWS[:2])
    with open_mirror(folder, "answer") as mirror:
        mirror.intend(names)
        mirror.mark_whole(names[0], "made from this")
    return folder


@pytest.mark.parametrize(("given", "files"), [("d", ["d/b.csv", "d/c.csv"]), ("d/c.csv", ["d/c.csv"])])
def test_rows_of_a_part_are_their_owners(tmp_path: Path, stage: Stage, given: str, files: list[str]) -> None:
    """`view answers/d` and `view answers` call a row by the same file and row, and so does `compare`."""
    top = answered_folder(tmp_path / "top")
    rows = data(tmp_path, top / given)["rows"]
    assert isinstance(rows, dict)
    assert sorted(rows["files"]) == files
    report = json.loads(stage("compare", top, answered_folder(tmp_path / "new"), "--json").stdout)
    assert report["rows"] == 8
    write_rows(tmp_path / "new/d/c.csv", [answered("1", PASSAGE, "noon"), ROWS[1]])
    report = json.loads(stage("compare", top / given, tmp_path / "new" / given, "--json").stdout)
    assert [(each["file"], each["row"]) for each in report["differences"]] == [("d/c.csv", 1)]


@pytest.mark.parametrize("turned", [False, True])
def test_a_copy_of_a_part_is_that_part(tmp_path: Path, turned: bool) -> None:
    """A copy has no listing that says what it is a part of; its rows are still those of the other run."""
    part = answered_folder(tmp_path / "top") / "d"
    copy = Path(shutil.copytree(part, tmp_path / "copy"))
    runs = (copy, part) if turned else (part, copy)
    changes = data(tmp_path, runs[0], "--against", runs[1])["changes"]
    assert isinstance(changes, dict)
    assert (changes["same"], changes["onlyHere"], changes["onlyThere"]) == (6, 0, 0)


def row(number: int, file: str = "a.csv") -> AnsweredRow:
    return AnsweredRow(file, number, "q", PASSAGE, Choice("Ada", 0.9, None, 0, 3), "", "m")


class Noted(CsvRun):
    """A run whose rows are counted as they are read."""

    def rows_of(self, file: str) -> Iterator[AnsweredRow]:
        """Every second row of ten."""
        for number in range(2, 12, 2):
            self.files = number
            yield row(number, file)


def test_another_run_is_read_along_and_not_kept() -> None:
    """Kept for a comparison, a million rows took 460 MB."""
    run = Noted(Path("old"), {name: {} for name in ("a.csv", "b.csv", "c.csv")}, Names())
    other = OtherRun(run, "expected")
    for number in range(1, 8):
        assert (other.glimpse_of(row(number)) is None) == bool(number % 2)
        assert run.files <= number + 2
    assert other.glimpse_of(row(2, "c.csv")) is not None
    assert other.glimpse_of(row(1, "d.csv")) is None
    other.finish()
    assert (other.counts.rows, other.only_there) == (15, 15 - 4)
