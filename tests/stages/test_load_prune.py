"""Absence is proven before anything is deleted."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from runtime.errors import AnswermillError
from stages.common.names import origin_of
from stages.loading.digests import key, read_digests
from tests.support.loading import execute, row_of, rows_of, run_load, versions_of, write_rows, write_version


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


def test_a_listing_of_the_future_proves_nothing(database: str, loaded: Path) -> None:
    """What is newer than it would pass for older."""
    (loaded / "b.csv").unlink()
    kept = ["a.csv", "c.csv", "d.csv", "e.csv"]
    listing = write_listing(loaded.parent / "listing.json", kept, datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(AnswermillError, match="does not prove that files are gone; correct the clocks"):
        prune(database, loaded, "--listing", str(listing))
    assert names(database) == "abcde"
    assert prune(database, loaded, "--listing", str(listing), "--clock-margin", "3600") == 0


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


@pytest.mark.parametrize("part", ["c.csv", "c.csv.parts/row-0000000003.csv"])
def test_what_a_failed_job_has_loaded_is_named(
    database: str, tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A job loads a new version and fails; the bucket goes back, and Pachyderm skips what the good job had.

    The table then holds a version that nobody has passed on, under a name that is listed.
    """

    def load(version: str) -> Path:
        """As a pod does, into an output that starts empty."""
        source, target = tmp_path / version / "in", tmp_path / version / "out"
        write_version(source / part, version, 2)
        for name in ("a.csv", "b.csv"):
            write_version(source / name, "one", 2)
        assert run_load(database, source, target, "--pass-on-digests", PACH_DATUM_ID="0") == 0
        return target

    def prune_after(at: datetime, *options: str) -> int:
        files = {name: {"file": origin_of(name).file, "first_row": origin_of(name).first_row} for name in names}
        listing = write_listing(tmp_path / "listing.json", [], at, files=files)
        words = ("--prune", "--listing", str(listing), *options)
        return run_load(database, good, tmp_path / "pruned", *words, PACH_DATUM_ID="0")

    names = ["a.csv", "b.csv", part]
    good = load("good")
    assert prune_after(datetime.now(UTC)) == 0
    before = datetime.now(UTC)
    load("failed")
    # A late prune of the good job meets a newer version, and that is as it should be.
    assert prune_after(before) == 0
    assert prune_after(datetime.now(UTC)) == 1
    assert f"nothing of them was deleted: {part}; load them again: deploy with --reprocess load" in caplog.text
    assert versions_of(database)["c.csv"] == {"failed": 2}
    # Where the pipeline's image has not said which version it was, there is nothing to compare.
    (good / "digests").rename(tmp_path / "aside")
    assert prune_after(datetime.now(UTC)) == 0
    (tmp_path / "aside").rename(good / "digests")
    load("good")
    assert prune_after(datetime.now(UTC)) == 0
    assert versions_of(database)["c.csv"] == {"good": 2}


def test_of_a_file_that_is_not_as_listed_nothing_goes(database: str, tmp_path: Path) -> None:
    """A failed job has cut it otherwise: what is not listed of it holds rows that are. So too where a part is refused.

    Only another part of the file is newer than the listing, so that whether rows are lost is not to be said yet.
    """
    part, cut = "a.csv.parts/row-0000000005.csv", "a.csv.parts/row-0000000003.csv"
    source, target = tmp_path / "in", tmp_path / "out"

    def load(name: str, rows: int) -> None:
        first = origin_of(name).first_row
        write_rows(source / name / name, [row_of(number, "one") for number in range(first, first + rows)])
        assert run_load(database, source / name, target, "--pass-on-digests", PACH_DATUM_ID="0") == 0

    load("a.csv", 4)
    load("b.csv", 1)
    (source / "other").mkdir()
    write_rows(source / "other" / cut, [row_of(number, "one") for number in (3, 4)])
    assert run_load(database, source / "other", tmp_path / "failed", PACH_DATUM_ID="0") == 0
    listed = datetime.now(UTC)
    load(part, 1)
    files = {name: {"file": origin_of(name).file, "first_row": origin_of(name).first_row} for name in ("a.csv", part)}
    files["b.csv"] = {"file": "b.csv", "first_row": 1}
    listing = write_listing(tmp_path / "listing.json", [], listed, files=files)
    words = ("--prune", "--listing", str(listing))
    assert run_load(database, target, tmp_path / "pruned", *words, PACH_DATUM_ID="0") == 0
    assert versions_of(database)["a.csv"] == {"one": 5}
    (target / "rejected").mkdir()
    (target / "rejected/a.csv.json").write_text("{}")
    write_listing(listing, [], files=files)
    assert run_load(database, target, tmp_path / "pruned", *words, PACH_DATUM_ID="0") == 0
    assert versions_of(database)["a.csv"] == {"one": 5}
    (target / "rejected/a.csv.json").unlink()
    assert run_load(database, target, tmp_path / "pruned", *words, PACH_DATUM_ID="0") == 1


def test_digests_mirror_what_is_passed_on(database: str, tmp_path: Path) -> None:
    """A plain run removes the digest of a version that is no longer there, and of a file that is gone."""
    source, target = tmp_path / "in", tmp_path / "out"
    for versions in (["one", "one"], ["two", "one"], ["two"]):
        for name, version in zip("ab", versions, strict=False):
            write_version(source / f"{name}.csv", version, 2)
        if len(versions) == 1:
            (source / "b.csv").unlink()
        assert run_load(database, source, target, "--pass-on-digests") == 0
        contents = {path.name: path.read_bytes() for path in source.iterdir()}
        assert read_digests(target) == {key(name): sha256(content).hexdigest() for name, content in contents.items()}
    assert run_load(database, source, target) == 0
    assert read_digests(target) == {}
    with pytest.raises(SystemExit, match="2"):
        run_load(database, source, target, "--pass-on-digests", "--on-conflict", "keep")


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


def test_prune_says_that_files_are_not_loaded(database: str, loaded: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody typed `load answers loaded --prune`, saw exit code 0, and had an empty table."""
    write_version(loaded / "f.csv", "one", 2)
    assert prune(database, loaded) == 0
    assert "1 of 6 files below INPUT are not in the table: f.csv; --prune loads nothing" in caplog.text
    caplog.clear()
    assert run_load(database, loaded, loaded.parent / "again") == 0
    assert prune(database, loaded) == 0
    assert "not in the table" not in caplog.text


@pytest.mark.parametrize("options", [(), ("--prune",)], ids=["load", "prune"])
def test_a_linked_folder_that_is_not_mounted_keeps_rows(
    database: str, loaded: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Neither goes what was passed on of it; the link itself says that there was something."""
    write_version(tmp_path / "disk/sub/z.csv", "one", 1)
    (tmp_path / "in/sub").symlink_to(tmp_path / "disk/sub")
    assert run_load(database, tmp_path / "in", loaded) == 0
    whole = versions_of(database)
    assert "sub/z.csv" in whole
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    with pytest.raises(AnswermillError, match=r"sub: a link to nothing, which may have been a folder"):
        run_load(database, tmp_path / "in", loaded, *options)
    assert versions_of(database) == whole
    assert (loaded / "sub/z.csv").is_symlink()
