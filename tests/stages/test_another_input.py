"""Another INPUT into the same OUTPUT: what came from the first is not gone because it is not in the second."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Stage
from tests.support.loading import run_load, write_version

Run = Callable[[Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["ingest", "answer", "load"])
def run(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Run:
    """Runs one of the stages into `out`."""
    name = request.param
    words: list[object] = []
    environment = {}
    if name == "answer":
        words = ["--prefix", "qa_", "--model", request.getfixturevalue("int8_bundle")]
    elif name == "load":
        environment = {"DATABASE_URL": request.getfixturevalue("database")}
    return lambda source: stage(name, source, tmp_path / "out", *words, **environment)


def csvs(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.csv")}


def test_files_of_another_input_are_not_removed(run: Run, tmp_path: Path) -> None:
    """`answer monday out`, then `answer tuesday out`, deleted Monday's answers. The remedy works to the letter."""
    monday, tuesday, out = tmp_path / "monday", tmp_path / "tuesday", tmp_path / "out"
    write_version(monday / "m.csv", "one", 2)
    write_version(monday / "both.csv", "one", 2)
    write_version(tuesday / "t.csv", "two", 2)
    write_version(tuesday / "both.csv", "two", 2)
    assert run(monday).returncode == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".csv"}
    refused = run(tuesday)
    assert refused.returncode == 1
    assert f"out: m.csv: made from {monday}, not in {tuesday}, which does not prove that it is gone" in refused.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".csv"} == before
    (out / "m.csv").unlink()
    done = run(tuesday)
    assert done.returncode == 0, done.stderr
    assert f"made from {monday} until now, from now on it mirrors {tuesday}" in done.stderr
    assert csvs(out) == {"t.csv", "both.csv"}
    # From now on Tuesday's folder proves what is gone.
    (tuesday / "t.csv").unlink()
    assert run(tuesday).returncode == 0
    assert csvs(out) == {"both.csv"}


def test_an_input_that_moved_is_the_same_files(run: Run, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "one", 2)
    assert run(tmp_path / "in").returncode == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    write_version(tmp_path / "moved/b.csv", "one", 2)
    done = run(tmp_path / "moved")
    assert done.returncode == 0, done.stderr
    assert csvs(tmp_path / "out") == {"a.csv", "b.csv"}


def test_a_link_to_the_folder_of_the_day_is_one_input(run: Run, tmp_path: Path) -> None:
    """Whoever points it elsewhere says what is there now; so does a path that is written in another way."""
    write_version(tmp_path / "1/a.csv", "one", 2)
    write_version(tmp_path / "2/b.csv", "one", 2)
    link = tmp_path / "today"
    link.symlink_to(tmp_path / "1")
    assert run(link).returncode == 0
    assert "from now on" not in run(tmp_path / "2/../1").stderr
    assert run(link).returncode == 0
    link.unlink()
    link.symlink_to(tmp_path / "2")
    done = run(link)
    assert (done.returncode, "from now on" in done.stderr) == (0, False)
    assert csvs(tmp_path / "out") == {"b.csv"}


def test_digests_of_another_input_are_no_files(tmp_path: Path, database: str) -> None:
    """They go with their CSVs, and by themselves hold nothing up."""
    write_version(tmp_path / "1/a.csv", "one", 2)
    write_version(tmp_path / "2/a.csv", "two", 2)
    for folder in ("1", "2"):
        assert run_load(database, tmp_path / folder, tmp_path / "out", "--pass-on-digests") == 0
    assert len(list((tmp_path / "out/digests").iterdir())) == 1


def test_an_emptied_folder_removes_nothing(stage: Stage, tmp_path: Path) -> None:
    """A disk that is not mounted leaves one; nor does its listing prove anything to `load --prune`."""
    source, out = tmp_path / "in", tmp_path / "out"
    write_version(source / "a.csv", "one", 2)
    assert stage("ingest", source, out).returncode == 0
    (source / "a.csv").unlink()
    done = stage("ingest", source, out)
    assert done.returncode == 0
    assert "1 files of earlier runs stay" in done.stderr
    assert csvs(out) == {"a.csv"}
    assert '"complete": false' in (out / "listing.json").read_text()
    write_version(source / "b.csv", "one", 2)
    assert stage("ingest", source, out).returncode == 0
    assert csvs(out) == {"b.csv"}
    assert '"complete": true' in (out / "listing.json").read_text()


def test_a_file_that_somebody_else_wrote_is_not_replaced(run: Run, tmp_path: Path) -> None:
    """`load answers questions` made links of them; nor is it in a later run. The remedy works to the letter."""
    source, out = tmp_path / "in", tmp_path / "out"
    out.mkdir()
    for name in ("a.csv", "b.csv"):
        write_version(source / name, "one", 2)
        (out / name).write_text("mine\n")
        for _ in range(2):
            refused = run(source)
            assert refused.returncode == 1
            assert f"out: {name} would be replaced, and this command did not write it; choose another" in refused.stderr
            assert (out / name).read_text() == "mine\n"
        (out / name).unlink()
        assert [run(source).returncode for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("command", "name", "content"),
    [
        ("ingest", "listing.json", b'{"houses": []}\n'),
        # A listing that does not name it proves nothing about it.
        ("ingest", "a.csv", b"mine\n"),
        ("answer", "run.json", b'{"kilometres": 10}\n'),
        ("answer", "a.ndjson", b'{"question": "q", "context": "c"}\n'),
        ("answer", "a.ndjson", b"[]\n"),
        ("answer", "a.parquet", b"PAR1"),
    ],
)
def test_a_file_of_any_kind_that_is_not_ours_stays(
    stage: Stage, tmp_path: Path, int8_bundle: Path, command: str, name: str, content: bytes
) -> None:
    write_version(tmp_path / "in/a.csv", "one", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(content)
    if name == "a.csv":
        (tmp_path / "out/listing.json").write_text('{\n "version": 1,\n "listed_at": "", "files": {"b.csv": {}}}')
    kind = Path(name).suffix[1:]
    words = ["--model", int8_bundle, "--prefix", "qa_", "--format", "csv" if kind == "json" else kind]
    refused = stage(command, tmp_path / "in", tmp_path / "out", *(words if command == "answer" else ()))
    assert refused.returncode == 1
    assert f"out: {name} would be replaced, and this command did not write it" in refused.stderr
    assert (tmp_path / "out" / name).read_bytes() == content


def test_a_file_in_the_place_of_a_link_stays(database: str, tmp_path: Path) -> None:
    """Whoever puts a copy in the place of what load passed on has a file of his own, also when the CSV is gone."""
    for name in ("a.csv", "b.csv"):
        write_version(tmp_path / "in" / name, "one", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "out/b.csv").unlink()
    (tmp_path / "out/b.csv").write_text("mine\n")
    (tmp_path / "in/b.csv").unlink()
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    assert (tmp_path / "out/b.csv").read_text() == "mine\n"


def test_an_output_without_its_listing_is_still_its_own(run: Run, tmp_path: Path) -> None:
    """`cp -r out/* elsewhere` leaves hidden files behind; the next run goes on there, and does not stop."""
    write_version(tmp_path / "in/a.csv", "one", 2)
    assert run(tmp_path / "in").returncode == 0
    for listing in (tmp_path / "out").glob(".*.listing"):
        listing.unlink()
    write_version(tmp_path / "in/a.csv", "two", 3)
    done = run(tmp_path / "in")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/a.csv").read_text().count("\n") == 4
