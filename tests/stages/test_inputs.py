"""However much of a stage's folder is given as INPUT, a row keeps its name, and nothing else goes."""

import json
from pathlib import Path

import pytest

from runtime.errors import OptionError
from stages.common.inputs import read_input
from stages.common.mirror import open_mirror
from tests.conftest import Stage
from tests.support.loading import run_load, versions_of, write_version

PART = "d/b.csv.parts/row-0000000004.csv"
NAMES = ["a.csv", "d/b.csv", PART, "d/e/c.csv"]


def stage_folder(folder: Path, stage: str, names: list[str] = NAMES) -> Path:
    """What a stage leaves: CSVs and its listing. `fetched` is what somebody has fetched from ingest's repo."""
    for name in names:
        write_version(folder / name, "one", 3)
    if stage == "fetched":
        listing = {"version": 1, "listed_at": "2026-01-01T00:00:00+00:00", "files": dict.fromkeys(names)}
        (folder / "listing.json").write_text(json.dumps(listing, indent=1), "utf-8")
        return folder
    with open_mirror(folder, stage.partition("-")[0], stage[len("answer") :] if "-" in stage else "") as mirror:
        mirror.intend(names)
        mirror.mark_whole(names[0], "made from this")
    return folder


@pytest.mark.parametrize("stage", ["ingest", "answer", "answer-2-of-8", "load", "fetched"])
@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("", NAMES),
        ("d", NAMES[1:]),
        ("d/e", ["d/e/c.csv"]),
        ("d/b.csv.parts", [PART]),
        ("a.csv", ["a.csv"]),
        ("d/b.csv", ["d/b.csv"]),
        (PART, [PART]),
        ("d/e/../b.csv", ["d/b.csv"]),
        ("d/../d", NAMES[1:]),
        ("../link/b.csv", ["d/b.csv"]),
        ("../link", NAMES[1:]),
        # A file that is given another name has it; what no stage has noted is named as ever.
        ("../renamed.csv", ["renamed.csv"]),
        ("new/n.csv", ["n.csv"]),
        ("new", ["n.csv"]),
    ],
)
def test_a_part_of_a_folder_is_named_as_in_it(tmp_path: Path, stage: str, given: str, names: list[str]) -> None:
    top = stage_folder(tmp_path / "top", stage)
    (tmp_path / "link").symlink_to("top/d")
    (tmp_path / "renamed.csv").symlink_to("top/d/b.csv")
    write_version(top / "new/n.csv", "one", 1)
    found = read_input(top / given, tmp_path / "out").files
    assert [name for name in found if given or name != "new/n.csv"] == names
    for name, path in found.items():
        assert name in ("renamed.csv", "n.csv") or path.samefile(top / name)


def test_a_part_is_named_from_the_folder_itself_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = stage_folder(tmp_path / "top", "answer")
    monkeypatch.chdir(top / "d")
    for given in ("b.csv", "./b.csv", "../d/b.csv"):
        assert [*read_input(Path(given), tmp_path / "out").files] == ["d/b.csv"]
    assert [*read_input(Path(), tmp_path / "out").files] == NAMES[1:]


def test_the_nearest_folder_that_names_it_counts(tmp_path: Path) -> None:
    """The OUTPUT of another run below it is a folder of its own; a listing of other paths says nothing."""
    stage_folder(tmp_path / "top", "answer", ["d/b.csv", "d/e/c.csv"])
    inner = stage_folder(tmp_path / "top/d", "answer", ["b.csv"])
    for given, name in ((inner, "b.csv"), (inner / "b.csv", "b.csv"), (inner / "e/c.csv", "d/e/c.csv")):
        assert name in read_input(given, tmp_path / "out").files


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 1}', '{\n "version": 1,\n "listed_at": 3}', '["d/b.csv", 5]\n', "\0", "[" * 100_000],
)
@pytest.mark.parametrize("name", ["listing.json", ".answer.listing"])
def test_a_listing_that_is_not_ours_names_nothing(tmp_path: Path, name: str, text: str) -> None:
    path = write_version(tmp_path / "top/d/b.csv", "one", 1)
    (tmp_path / "top" / name).write_text(text)
    assert [*read_input(path, tmp_path / "out").files] == ["b.csv"]


def test_plain_names_and_datums_have_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stage_folder(tmp_path / "top", "answer") / "d/b.csv"
    assert [*read_input(path, tmp_path / "out", plain_names=True).files] == ["b.csv"]
    monkeypatch.setenv("PACH_DATUM_ID", "1")
    assert [*read_input(path, tmp_path / "out").files] == ["b.csv"]


@pytest.mark.parametrize("given", ["d", "d/b.csv"])
def test_a_part_is_not_written_over_itself(tmp_path: Path, given: str) -> None:
    top = stage_folder(tmp_path / "top", "ingest")
    with pytest.raises(OptionError, match="is a part of"):
        read_input(top / given, top)


def test_no_row_is_loaded_twice_by_a_part_of_a_folder(database: str, tmp_path: Path) -> None:
    """What was passed on of other files stays; what is gone from the part goes."""
    top = stage_folder(tmp_path / "top", "answer")
    passed = tmp_path / "passed"
    assert run_load(database, top, passed) == 0
    loaded = {"a.csv": {"one": 3}, "d/b.csv": {"one": 6}, "d/e/c.csv": {"one": 3}}
    assert versions_of(database) == loaded
    for given in ("d", "d/b.csv", PART, "d/e/c.csv", "d/b.csv.parts"):
        assert run_load(database, top / given, passed) == 0
        assert versions_of(database) == loaded
        assert all((passed / name).is_symlink() for name in NAMES)
    with pytest.raises(OptionError, match="all remaining files"):
        run_load(database, top / "d", tmp_path / "pruned", "--prune")
    (top / "d/e/c.csv").unlink()
    (top / "d/e").rmdir()
    (top / "a.csv").unlink()
    assert run_load(database, top / "d", passed) == 0
    assert sorted(str(path.relative_to(passed)) for path in passed.rglob("*.csv")) == sorted(["a.csv", *NAMES[1:3]])


@pytest.mark.parametrize(
    "other", ["b.csv-old.csv", "b.csv-", "b.csv.json.csv", "b.csv.csv", "rejected/b.csv", "ab.csv"]
)
def test_a_name_like_that_of_the_part_stays(database: str, tmp_path: Path, other: str) -> None:
    """`b.csv-old.csv` was taken for the digest of `b.csv`, and its link went; a prune would have deleted its rows."""
    name = other if other.endswith(".csv") else f"{other}.csv"
    top, passed = stage_folder(tmp_path / "top", "answer", ["b.csv", name]), tmp_path / "passed"
    assert run_load(database, top, passed, "--pass-on-digests") == 0
    before = {path for path in passed.rglob("*") if path.is_symlink() or "digests" in path.parts}
    assert run_load(database, top / "b.csv", passed, "--pass-on-digests") == 0
    assert {path for path in passed.rglob("*") if path.is_symlink() or "digests" in path.parts} == before
    assert versions_of(database) == {"b.csv": {"one": 3}, name: {"one": 3}}


def test_answers_of_a_part_lie_where_all_answers_lie(stage: Stage, tmp_path: Path, int8_bundle: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for name in ("a.csv", "d/b.csv", "d/c.csv"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("question,context\nWho called?,Ada called at noon.\n", "utf-8")
    assert stage("ingest", source, tmp_path / "csvs").returncode == 0
    assert stage("answer", tmp_path / "csvs", target, "--model", int8_bundle).returncode == 0
    one = stage("answer", tmp_path / "csvs/d/b.csv", target, "--model", int8_bundle)
    assert "csvs/d/b.csv is a part of" in one.stderr
    assert "unchanged_files=1 " in one.stderr
    (tmp_path / "csvs/d/c.csv").unlink()
    assert stage("answer", tmp_path / "csvs/d", target, "--model", int8_bundle).returncode == 0
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*.csv")) == ["a.csv", "d/b.csv"]
