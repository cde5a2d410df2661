"""Absence is proven before anything is deleted."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.errors import AnswermillError
from tests.support.loading import execute, rows_of, run_load, versions_of, write_version


def write_listing(path: Path, names: list[str], at: datetime | None = None, **changes: object) -> Path:
    files = {name: {"file": name, "first_row": 1, "rows": 1} for name in names}
    at = at or datetime.now(UTC)
    data = {"version": 1, "listed_at": at.isoformat(), "complete": True, "files": files, "rejected": {}, "objects": {}}
    path.write_text(json.dumps({**data, **changes}))
    return path


@pytest.fixture
def loaded(database: str, tmp_path: Path) -> Path:
    """Five files that are loaded; returns the folder that they were passed on to."""
    for name in "abcde":
        write_version(tmp_path / f"in/{name}.csv", "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    return tmp_path / "out"


def prune(database: str, loaded: Path, *options: str) -> int:
    return run_load(database, loaded, loaded.parent / "pruned", "--prune", *options)


def names(database: str) -> str:
    return "".join(sorted(name[0] for name in versions_of(database)))


def test_a_file_in_neither_listing_nor_load_goes(database: str, loaded: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (loaded / "b.csv").unlink()
    listing = write_listing(loaded.parent / "listing.json", ["a.csv", "c.csv", "d.csv", "e.csv"])
    assert prune(database, loaded, "--listing", str(listing)) == 0
    assert names(database) == "acde"
    assert "gone: b.csv" in caplog.text


def test_a_file_loaded_after_the_listing_is_spared(
    database: str, loaded: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A late prune of an older tick meets rows of a newer one; the next prune settles it."""
    caplog.set_level("INFO")
    (loaded / "b.csv").unlink()
    kept = ["a.csv", "c.csv", "d.csv", "e.csv"]
    listing = write_listing(loaded.parent / "listing.json", kept, datetime.now(UTC) - timedelta(hours=1))
    assert prune(database, loaded, "--listing", str(listing)) == 0
    assert names(database) == "abcde"
    assert "the next prune decides: b.csv" in caplog.text
    write_listing(listing, kept)
    assert prune(database, loaded, "--listing", str(listing), "--clock-margin", "3600") == 0
    assert names(database) == "abcde"
    assert prune(database, loaded, "--listing", str(listing)) == 0
    assert names(database) == "acde"


@pytest.mark.parametrize("where", ["not loaded", "not in the table"])
def test_what_was_lost_upstream_is_named(
    database: str, loaded: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is listed, so nothing of it is deleted, and the run fails; what is really gone goes."""
    (loaded / "b.csv").unlink()
    if where == "not loaded":
        (loaded / "c.csv").unlink()
    else:
        execute(database, "delete from question_answer_file where file = 'c.csv'")
    listing = write_listing(loaded.parent / "listing.json", ["a.csv", "c.csv", "d.csv", "e.csv"])
    assert prune(database, loaded, "--listing", str(listing)) == 1
    assert names(database) == "acde"
    assert "1 listed files are not in the table" in caplog.text and "c.csv" in caplog.text
    assert "--reprocess" in caplog.text


def test_a_file_that_load_refused_is_not_lost(database: str, loaded: Path) -> None:
    (loaded / "rejected").mkdir()
    (loaded / "rejected/x.csv.json").write_text("{}")
    listing = write_listing(loaded.parent / "listing.json", [f"{name}.csv" for name in "abcdex"])
    assert prune(database, loaded, "--listing", str(listing)) == 0
    assert names(database) == "abcde"


@pytest.mark.parametrize("left", ["", "ab"])
def test_more_than_half_goes_only_when_it_is_said(database: str, loaded: Path, left: str) -> None:
    for name in set("abcde") - set(left):
        (loaded / f"{name}.csv").unlink()
    listing = write_listing(loaded.parent / "listing.json", [f"{name}.csv" for name in left])
    for options in ([], ["--listing", str(listing)]):
        with pytest.raises(AnswermillError, match=r"--prune-all|no CSV"):
            prune(database, loaded, *options)
        assert names(database) == "abcde"
    assert prune(database, loaded, "--listing", str(listing), "--prune-all") == 0
    assert names(database) == left


def test_a_folder_that_cannot_be_listed_deletes_nothing(
    database: str, loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    real = os.scandir

    def refusing(path: object) -> object:
        if str(path).endswith("out"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(OSError, match="Permission denied"):
        prune(database, loaded)
    monkeypatch.undo()
    assert names(database) == "abcde"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": 3}', "[" * 100_000, '{"version": 1, "complete": true, "files": {"a": []}}']
)
def test_a_file_that_is_no_listing_deletes_nothing(database: str, loaded: Path, text: str) -> None:
    (loaded.parent / "listing.json").write_text(text)
    with pytest.raises(AnswermillError, match="--listing"):
        prune(database, loaded, "--listing", str(loaded.parent / "listing.json"))
    incomplete = write_listing(loaded.parent / "listing.json", ["a.csv"], complete=False)
    with pytest.raises(AnswermillError, match="incomplete"):
        prune(database, loaded, "--listing", str(incomplete), "--prune-all")
    assert names(database) == "abcde"


def test_a_dry_run_deletes_nothing(database: str, loaded: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (loaded / "b.csv").unlink()
    assert prune(database, loaded, "--dry-run") == 0
    assert "deleted=2" in caplog.text
    assert rows_of(database, "select count(*)::int from question_answer") == [(10,)]
