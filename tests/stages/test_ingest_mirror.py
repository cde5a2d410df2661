"""What a run of ingest leaves is what one run from nothing would leave, whatever earlier runs did."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.errors import AnswermillError, InputError
from stages import ingest
from stages.common.files import csv_files, open_below, open_regular, whole_file
from stages.common.names import is_table
from stages.ingesting import folder as folder_source
from stages.ingesting.folder import FolderSource
from stages.ingesting.options import arguments
from tests.conftest import ROOT, Stage

HEADER = b"question,context\n"
OWN = {".ingest.listing", "listing.json"}


def run(source: Path, output: Path, *options: object) -> int:
    return ingest.ingest(arguments([str(source), str(output), "--shard-rows", "3", *map(str, options)]))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OWN
    }


def rows(count: int) -> bytes:
    return HEADER + b"".join(b"%d?,x\n" % row for row in range(count))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    source.mkdir()
    return source


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files whose times are trusted at once; the tests wait a tick of the file system's clock instead."""
    monkeypatch.setattr(folder_source, "COARSEST_CLOCK", -1.0)


CONTENTS = [None, HEADER, rows(2), rows(3), rows(4), rows(10), b"nothing of use\n", HEADER + b"a,b,c\n"]


@pytest.mark.parametrize("seed", range(6))
def test_any_history_ends_as_one_run_from_nothing(tmp_path: Path, source: Path, settled: None, seed: int) -> None:
    """Files come, change, grow past a part, shrink, break rules, and go."""
    chance = random.Random(seed)
    for step in range(6):
        for name in ("a.csv", "b.csv", "d/c.csv", "a.csv.parts/row-0000000004.csv"):
            content = chance.choice(CONTENTS)
            path = source / name
            if content is None:
                path.unlink(missing_ok=True)
            elif chance.random() < 0.7:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
        time.sleep(0.02)
        assert run(source, tmp_path / "out", "--again" if chance.random() < 0.3 else "--timeout=60") == 0
        assert run(source, tmp_path / f"fresh{step}") == 0
        assert tree(tmp_path / "out") == tree(tmp_path / f"fresh{step}")
        after, fresh = (json.loads((tmp_path / out / "listing.json").read_bytes()) for out in ("out", f"fresh{step}"))
        assert {**after, "listed_at": ""} == {**fresh, "listed_at": ""}


def test_the_listing_says_what_was_seen_and_when(tmp_path: Path, source: Path) -> None:
    (source / "a é.csv").write_bytes(rows(4))
    (source / "bad.csv").write_bytes(b"no\n")
    assert run(source, tmp_path / "out") == 0
    listing = json.loads((tmp_path / "out/listing.json").read_bytes())
    assert (listing["version"], listing["complete"]) == (1, True)
    assert listing["listed_at"].endswith("+00:00")
    assert listing["files"] == {
        "a %C3%A9.csv": {"file": "a é.csv", "first_row": 1, "rows": 3},
        "a %C3%A9.csv.parts/row-0000000004.csv": {"file": "a é.csv", "first_row": 4, "rows": 1},
    }
    assert listing["rejected"] == {"rejected/bad.csv.json": "bad.csv"}
    assert listing["objects"]["bad.csv"]["size"] == 3


def test_what_has_not_changed_is_not_fetched_again(
    tmp_path: Path, source: Path, settled: None, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.csv", "b.csv"):
        (source / name).write_bytes(rows(4))
    (source / "bad.csv").write_bytes(b"no\n")
    caplog.set_level("INFO")

    def summary(*options: str) -> str:
        caplog.clear()
        assert run(source, tmp_path / "out", *options) == 0
        return caplog.messages[-1].partition(" seconds")[0]

    assert summary() == "done files=2 parts=4 rows=8 rejected=1 unchanged=0 gone=0"
    assert summary() == "done files=2 parts=4 rows=8 rejected=1 unchanged=3 gone=0"
    assert summary("--again").endswith("unchanged=0 gone=0")
    assert summary("--context-column", "question2").endswith("rejected=3 unchanged=0 gone=0")
    summary()
    (tmp_path / "out/b.csv").unlink()
    time.sleep(0.02)
    (source / "a.csv").write_bytes(rows(5))
    assert summary() == "done files=2 parts=4 rows=9 rejected=1 unchanged=1 gone=0"
    assert (tmp_path / "out/b.csv").exists()


def test_what_is_removed_is_said(tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (source / "a.csv").write_bytes(rows(10))
    (source / "b.csv").write_bytes(rows(1))
    assert run(source, tmp_path / "out") == 0
    assert "removed" not in caplog.text
    (source / "b.csv").unlink()
    assert run(source, tmp_path / "out") == 0
    assert "removed 1 files of objects that are gone or changed: b.csv" in caplog.text


def test_a_file_just_written_is_not_taken_for_unchanged(tmp_path: Path, source: Path) -> None:
    """Within a tick of the clock, two contents of one size have the same times."""
    (source / "a.csv").write_bytes(HEADER + b"old,x\n")
    assert run(source, tmp_path / "out") == 0
    (source / "a.csv").write_bytes(HEADER + b"new,x\n")
    assert run(source, tmp_path / "out") == 0
    assert b"new" in (tmp_path / "out/a.csv").read_bytes()


def test_what_a_killed_run_wrote_goes_with_its_object(tmp_path: Path, source: Path) -> None:
    """The path is written down before the file appears, so that the next run knows whose it is."""
    (source / "a.csv").write_bytes(rows(2))
    for number in range(2000):
        (source / f"z{number}.csv").write_bytes(rows(1))
    output = tmp_path / "out"
    command = [sys.executable, "-m", "stages.ingest", str(source), str(output), "--concurrency", "1"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while not (output / "a.csv").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    for path in source.iterdir():
        path.unlink()
    (source / "z.csv").write_bytes(rows(2))
    assert run(source, output) == 0
    assert tree(output) == {"z.csv": rows(2)}


@pytest.mark.parametrize("line", ["../../victim.txt", "/{tmp}/victim.txt", "link/victim.txt", "{", '["a", 1]', ""])
def test_a_damaged_listing_deletes_nothing_and_stops_nobody(tmp_path: Path, source: Path, line: str) -> None:
    (source / "a.csv").write_bytes(rows(2))
    (tmp_path / "victim.txt").write_bytes(b"precious")
    output = tmp_path / "deep/out"
    output.mkdir(parents=True)
    (output / "link").symlink_to(tmp_path)
    text = line if line in ("{", '["a", 1]', "") else json.dumps([line.format(tmp=tmp_path), "x"])
    (output / ".ingest.listing").write_text(text)
    assert run(source, output) == 0
    assert (tmp_path / "victim.txt").read_bytes() == b"precious"
    assert (output / "a.csv").read_bytes() == rows(2)


def test_a_folder_that_cannot_be_listed_fails_the_run(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might hold anything, so nothing that came from it may go."""
    (source / "sub").mkdir()
    (source / "sub/b.csv").write_bytes(rows(2))
    assert run(source, tmp_path / "out") == 0
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    with monkeypatch.context() as patched:
        patched.setattr("os.scandir", refuse)
        assert ingest.main([str(source), str(tmp_path / "out")]) == 1
    assert tree(tmp_path / "out") == {"sub/b.csv": rows(2)}


def test_only_regular_files_are_read(tmp_path: Path, source: Path) -> None:
    """A pipe would block for ever, a device never ends; each is refused by name and the others go on."""
    (source / "a.csv").write_bytes(rows(1))
    os.mkfifo(source / "pipe.csv")
    os.mknod(source / "socket.csv", stat.S_IFSOCK | 0o600)
    (source / "zero.csv").symlink_to("/dev/zero")
    (source / "gone.csv").symlink_to("nowhere.csv")
    (source / "self.csv").symlink_to("self.csv")
    assert run(source, tmp_path / "out", "--follow-links") == 0
    names = {path for path in tree(tmp_path / "out") if path.startswith("rejected/")}
    assert names == {f"rejected/{name}.csv.json" for name in ("pipe", "socket", "zero", "gone", "self")}
    assert tree(tmp_path / "out")["a.csv"] == rows(1)


def test_a_file_that_may_not_be_read_fails_alone(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run wrote for it stays."""
    for name in ("a.csv", "b.csv"):
        (source / name).write_bytes(rows(4))
    assert run(source, tmp_path / "out") == 0
    (source / "b.csv").write_bytes(rows(1))
    real = open_below

    def refuse(root: Path, path: Path) -> object:
        if path.name == "a.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return real(root, path)

    monkeypatch.setattr(folder_source, "open_below", refuse)
    assert run(source, tmp_path / "out", "--again") == 1
    assert set(tree(tmp_path / "out")) == {"a.csv", "a.csv.parts/row-0000000004.csv", "b.csv"}
    assert json.loads((tmp_path / "out/listing.json").read_bytes())["complete"] is False


def test_a_link_out_of_the_folder_is_refused_unread(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever fills a drop folder must not read other files through notes, the log or the output."""
    (tmp_path / "secret").write_bytes(b"root:SECRET:1\n")
    (source / "x.csv").symlink_to(tmp_path / "secret")
    (source / "folder").symlink_to(tmp_path)
    assert run(source, tmp_path / "out") == 0
    notes = tree(tmp_path / "out")
    assert set(notes) == {"rejected/x.csv.json", "rejected/folder/%2F.csv.json"}
    assert "SECRET" not in caplog.text and not any(b"SECRET" in note for note in notes.values())
    assert run(source, tmp_path / "out") == 0
    assert set(tree(tmp_path / "out")) == set(notes)


def test_diamonds_of_links_take_no_more_than_their_folders(tmp_path: Path, source: Path) -> None:
    """Thirty levels of two links each are a billion paths to one file."""
    (source / "0").mkdir()
    (source / "0/a.csv").write_bytes(rows(1))
    for level in range(30):
        (source / f"{level + 1}").mkdir()
        for side in ("left", "right"):
            (source / f"{level + 1}/{side}").symlink_to(f"../{level}")
    (source / "loop").symlink_to(".")
    assert run(source, tmp_path / "out") == 0
    assert set(tree(tmp_path / "out")) == {"0/a.csv"}


def test_hidden_names_are_passed_over(tmp_path: Path, source: Path) -> None:
    (source / ".ipynb_checkpoints").mkdir()
    for name in (".ipynb_checkpoints/a-checkpoint.csv", ".~a.csv", "a.csv"):
        (source / name).write_bytes(rows(1))
    assert run(source, tmp_path / "out") == 0
    assert set(tree(tmp_path / "out")) == {"a.csv"}


def test_what_a_lost_listing_would_have_removed_is_named(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy without hidden files: what is gone meanwhile cannot be proven to be ours, and must not stay unsaid."""
    for name in ("a.csv", "b.csv"):
        (source / name).write_bytes(rows(7))
    assert run(source, tmp_path / "out", "--shard-rows", 3) == 0
    (tmp_path / "out/.ingest.listing").unlink()
    (source / "b.csv").unlink()
    for _ in range(2):
        caplog.clear()
        assert run(source, tmp_path / "out", "--shard-rows", 3) == 0
        told = "out: b.csv, b.csv.parts/row-0000000004.csv, b.csv.parts/row-0000000007.csv: not in INPUT"
        assert (told in caplog.text) == ((tmp_path / "out/b.csv").exists())
        shutil.rmtree(tmp_path / "out/b.csv.parts", ignore_errors=True)
        (tmp_path / "out/b.csv").unlink(missing_ok=True)
    assert {path.split("/")[0] for path in tree(tmp_path / "out")} == {"a.csv", "a.csv.parts"}


def test_an_input_with_nothing_to_do_is_said(tmp_path: Path, source: Path, stage: Stage) -> None:
    (source / "a.xlsx").write_bytes(b"PK")
    done = stage("ingest", source, tmp_path / "out")
    assert done.returncode == 0
    assert "there is nothing to do: no CSV, Parquet or NDJSON file (--formats) among 1 files" in done.stderr


def test_formats_that_are_not_wanted_are_passed_over(tmp_path: Path, source: Path) -> None:
    (source / "a.csv").write_bytes(rows(1))
    (source / "a.ndjson").write_bytes(b'{"question": "q", "context": "c"}\n')
    assert run(source, tmp_path / "out", "--formats", "ndjson") == 0
    assert set(tree(tmp_path / "out")) == {"a.ndjson.csv"}


def test_a_datum_keeps_no_listing_of_its_own(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output starts empty, and is published as it is."""
    monkeypatch.setenv("PACH_DATUM_ID", "1")
    (source / "a.csv").write_bytes(rows(1))
    assert run(source, tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.csv", "listing.json"}


def test_the_output_is_never_a_link_into_the_input(source: Path, tmp_path: Path) -> None:
    (source / "a.csv").write_bytes(rows(1))
    (tmp_path / "out").symlink_to("in")
    (source / "sub").mkdir()
    (tmp_path / "deep").symlink_to("in/sub")
    for output in ("out", "deep", "deep/new"):
        assert ingest.main([str(source), str(tmp_path / output)]) == 1
    assert tree(source) == {"a.csv": rows(1)}


def test_names_that_are_not_utf8_go_all_the_way(tmp_path: Path, stage: Stage) -> None:
    """`csv_files` and `whole_file` take them too, so that they do not stop the files beside them."""
    folder = tmp_path / "in"
    folder.mkdir()
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/latin\xe9.csv"))
    odd.write_bytes(rows(1))
    assert list(csv_files(folder).values()) == [odd]
    with whole_file(odd) as file:
        file.write(rows(2))
    assert odd.read_bytes() == rows(2)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.csv"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(InputError, match="not a regular file"):
        open_regular(path)


def test_a_file_that_goes_while_it_is_listed_ends_nothing(tmp_path: Path) -> None:
    """Its folder was listed with it; whoever removes it, or gives it its final name, is not the run's business."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(b"question,context\n")

    def wanted(name: str) -> bool:
        (tmp_path / "b.csv").unlink(missing_ok=True)
        return is_table(name)

    assert list(FolderSource(tmp_path).list(wanted).objects) == ["a.csv"]


def test_a_folder_that_is_renamed_while_listed_is_found(tmp_path: Path) -> None:
    """What is in it is not gone, and the message of a run that cannot go on does not name another folder."""
    (tmp_path / "old").mkdir()
    for name in ("a.csv", "old/b.csv"):
        (tmp_path / name).write_bytes(b"question,context\n")

    def wanted(name: str) -> bool:
        if (tmp_path / "old").exists():
            (tmp_path / "old").rename(tmp_path / "new")
        return is_table(name)

    assert list(FolderSource(tmp_path).list(wanted).objects) == ["a.csv", "new/b.csv"]

    def never(name: str) -> bool:
        (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
        folder.rename(tmp_path / f"{folder.name}~")
        return is_table(name)

    with pytest.raises(AnswermillError, match=r"new.*: No such file or directory; folders come and go there"):
        FolderSource(tmp_path).list(never)


def test_a_linked_folder_that_is_not_mounted_is_not_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link that leads nowhere for now does not show that what was there is gone; one of a file fails by itself."""
    for name in ("in/a.csv", "disk/sub/b.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"question,context\nWho?,Mara\n")
    (tmp_path / "in/sub").symlink_to(tmp_path / "disk/sub")
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--follow-links"]
    assert ingest.main(words) == 0
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    assert ingest.main(words) == 1
    assert "in/sub: a link to nothing, which may have been a folder; mount what" in capsys.readouterr().err
    assert (tmp_path / "out/sub/b.csv").exists()
    # What nobody has listed through the link, and what leads to a place that was listed, is no loss.
    assert ingest.main([words[0], str(tmp_path / "other")]) == 0
    (tmp_path / "in/sub").unlink()
    (tmp_path / "in/latest").symlink_to("yesterday")
    (tmp_path / "in/.hidden").symlink_to(tmp_path / "nothing")
    assert ingest.main(words) == 0
    assert not (tmp_path / "out/sub/b.csv").exists()
