"""State that is damaged: named, and made again where it can be; never a traceback, never other bytes."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pachyderm.errors import PachydermError
from pachyderm.local import status
from pachyderm.local.store.store import exclusive_root
from pachyderm.spec import cron
from tests.support.pachyderm_kit import COPY, Bench, spec

FILES = [
    "jobs/copy/000001/job.json",
    "jobs/copy/000002/job.json",
    "jobs/copy/000002/datums.jsonl",
    "jobs/copy/salt.json",
    "jobs/copy/input.json",
    "jobs/clock/created.json",
    "repos/src/000002.json",
    "repos/copy/000001.json",
    "repos/copy/000002.json",
    "repos/clock_tick/000001.json",
    "lock",
]
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "binary": lambda _: b"\x00\xff\xfe{",
    "null": lambda _: b"null\n",
    "list": lambda _: b"[1, 2]\n",
    "other": lambda _: b'{"a": 1, "files": 3, "id": 4, "outputs": {"/a": 1}}\n',
    "deep": lambda _: b"[" * 200_000,
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def pipelines() -> list[dict[str, Any]]:
    clock = {"cron": {"name": "tick", "spec": "@yearly"}}
    return [spec("copy", "src", COPY), {**spec("clock", "src", "echo > /pfs/out/t"), "input": clock}]


def prepared(bench: Bench) -> None:
    bench.put("a", "1")
    bench.run(*pipelines())
    bench.run(*pipelines(), tick=True)
    bench.put("b", "1")
    bench.run(*pipelines())


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damaged_state_is_named_and_made_again(bench: Bench, name: str, how: str) -> None:
    prepared(bench)
    path = bench.root / name
    damaged = DAMAGES[how](path.read_bytes())
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    status.overview(bench.root)
    bench.put("c", "1")
    jobs = bench.run(*pipelines())
    assert jobs["copy"].state == "success"
    assert bench.files("copy") == {"/a": "1", "/b": "1", "/c": "1"}
    status.overview(bench.root)


@pytest.mark.parametrize("name", ["repos/src/000002", "repos/copy/000002", "repos/copy/000002/b", "jobs/copy/000002"])
def test_state_that_is_gone_is_made_again(bench: Bench, name: str) -> None:
    prepared(bench)
    path = bench.root / name
    path.unlink() if path.is_file() else shutil.rmtree(path)
    bench.put("c", "1")
    bench.run(*pipelines())
    assert bench.files("copy") == {"/a": "1", "/b": "1", "/c": "1"}


def test_what_cannot_be_made_again_is_named(bench: Bench) -> None:
    bench.put("a", "1")
    bench.root.mkdir()
    (bench.root / "repos").write_text("")
    with pytest.raises(OSError, match="repos"):
        bench.run(*pipelines())


def test_damage_is_said_in_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    prepared(bench)
    (bench.root / "jobs/copy/salt.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        bench.run(*pipelines())
    assert f"{bench.root}/jobs/copy/salt.json: damaged; written again" in caplog.messages


def test_a_tick_of_the_future_stops_no_schedule(bench: Bench) -> None:
    hourly = {"cron": {"name": "tick", "spec": "@hourly", "start": "2026-01-01T00:00:00Z", "overwrite": True}}
    ticking = {**spec("clock", "src", "echo > /pfs/out/t"), "input": hourly}
    bench.run(ticking)
    manifest = max((bench.root / "repos/clock_tick").glob("*.json"))
    content = json.loads(manifest.read_text())
    (name,) = content["files"]
    future = f"/{cron.stamp(datetime.now(UTC) + timedelta(days=30_000))}"
    content["files"] = {future: content["files"][name]}
    manifest.write_text(json.dumps(content))
    (manifest.with_suffix("") / name[1:]).rename(manifest.with_suffix("") / future[1:])
    assert bench.run(ticking)["clock"].state == "success"
    assert bench.files("clock_tick").keys() != {future}
    assert bench.run(ticking) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_listed_is_no_empty_one(bench: Bench) -> None:
    bench.put("sub/a", "1")
    (bench.source / "sub").chmod(0)
    try:
        with pytest.raises(PermissionError):
            bench.run(spec("copy", "src", COPY))
    finally:
        (bench.source / "sub").chmod(0o755)


def test_a_walk_error_of_any_kind_ends_the_snapshot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk or a share reports it that goes away in the middle of a walk."""
    bench.put("a", "1")
    bench.put("sub/b", "1")
    bench.run(spec("copy", "src", COPY))
    scan = os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("/src/sub"):
            raise OSError(5, "Input/output error", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", failing)
    with pytest.raises(OSError, match="Input/output error"):
        bench.run(spec("copy", "src", COPY))
    monkeypatch.undo()
    assert bench.files("copy") == {"/a": "1", "/sub/b": "1"}


def test_links_among_folders_cost_no_more_than_the_folders(bench: Bench) -> None:
    """Two links to their own parent, and 40 levels of two links to the next: 2^40 paths lead to one file."""
    bench.put("f", "1")
    for name in ("a", "b"):
        (bench.source / name).symlink_to(".")
    below = bench.source / "d0"
    for index in range(40):
        below.mkdir()
        for name in ("x", "y"):
            (below / name).symlink_to(f"../d{index + 1}")
        below = bench.source / f"d{index + 1}"
    bench.put("d40/g", "2")
    bench.run(spec("copy", "src", COPY))
    assert bench.files("src") == {"/f": "1", "/d40/g": "2"}


def test_a_broken_name_is_refused(bench: Bench) -> None:
    bench.put("a\x1b[31m", "1")
    with pytest.raises(PachydermError, match="only printable ASCII"):
        bench.run(spec("copy", "src", COPY))


def test_a_work_folder_of_the_users_is_not_emptied(tmp_path: Path) -> None:
    """`run --root .` removed the folder `work` that was there."""
    thesis = tmp_path / "work/thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    for _ in range(2):
        refused = pytest.raises(PachydermError, match="no run has made it; give --root a folder of its own")
        with refused, exclusive_root(tmp_path):
            pass
    assert thesis.read_text() == "mine"
    for _ in range(2):
        with exclusive_root(tmp_path / "run") as work:
            assert work.is_dir()
