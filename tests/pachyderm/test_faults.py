"""The runner is killed, at any point, and started again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pachyderm.local.store.store import Store
from tests.conftest import ROOT
from tests.pachyderm.test_cli import Shell
from tests.support.pachyderm_kit import Bench, spec
from tests.support.waiting import until


def ran(folder: Path) -> Counter[str]:
    """How often the script was begun for each datum."""
    return Counter((folder / "ran").read_text().split()) if (folder / "ran").exists() else Counter()


def processes_in(folder: Path) -> list[int]:
    """Processes whose environment or working folder speaks of a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def killed_in_the_third(tmp_path: Path) -> Shell:
    """A run that was killed while it copied the third of four files."""
    shell = Shell(tmp_path)
    go = tmp_path / "go"
    script = f"""
        echo "$(basename $in)" >> {tmp_path}/ran
        cp $in /pfs/out/
        test "$(basename $in)" != c || while ! test -e {go}; do sleep 0.05; done
    """
    shell.write(spec("copy", "src", script), spec("next", "copy", "cp $in /pfs/out/"))
    for name in "abcd":
        (shell.source / name).write_text(name)
    with shell.started("--workers", "1") as first:
        until(lambda: ran(tmp_path)["c"] == 1)
        first.kill()
    # The process of the third datum goes down with its runner.
    until(lambda: not processes_in(tmp_path / "root"))
    go.touch()
    return shell


def test_a_killed_run_keeps_what_was_done(tmp_path: Path) -> None:
    """Killed while the third datum runs: the first two are not begun again, the third is, and all are published."""
    shell = killed_in_the_third(tmp_path)
    job = Store(tmp_path / "root").pipeline("copy").last()
    assert job is not None
    assert job.state == "running"
    assert not (tmp_path / "root/repos/copy").exists()
    done = shell.run()
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == {"a": 1, "b": 1, "c": 2, "d": 1}
    assert sorted(path.name for path in (tmp_path / "root/repos/next/000001").iterdir()) == list("abcd")


def test_an_output_cut_by_a_power_failure_is_done_again(tmp_path: Path) -> None:
    """A datum's files are forced to the disk with its job; before that, the note of it may outlive their content."""
    shell = killed_in_the_third(tmp_path)
    cut = [path for path in (tmp_path / "root").rglob("outputs/*") if path.read_text() == "a"]
    assert len(cut) == 1
    cut[0].chmod(0o644)
    cut[0].write_text("")
    done = shell.run()
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == {"a": 2, "b": 1, "c": 2, "d": 1}
    assert (tmp_path / "root/repos/next/000001/a").read_text() == "a"


def test_an_interrupted_run_goes_on_with_changed_inputs(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    script = f"""
        echo "$(basename $in)" >> {tmp_path}/ran
        cp $in /pfs/out/
        test "$(basename $in)" != c || test -e {tmp_path}/go || sleep 600
    """
    shell.write(spec("copy", "src", script))
    for name in "abc":
        (shell.source / name).write_text(name)
    with shell.started("--workers", "1") as first:
        until(lambda: ran(tmp_path)["c"] == 1)
        first.kill()
    (tmp_path / "go").touch()
    (shell.source / "a").unlink()
    (shell.source / "b").write_text("changed")
    assert shell.run().returncode == 0
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 2}
    # What was done for an input that is gone is not remembered as part of this job.
    (shell.source / "a").write_text("a")
    assert shell.run().returncode == 0
    assert ran(tmp_path) == {"a": 2, "b": 2, "c": 2}
    folder = tmp_path / "root/repos/copy/000002"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "a", "b": "changed", "c": "c"}


@pytest.mark.faults
def test_a_run_killed_at_any_point_loses_nothing(tmp_path: Path) -> None:
    """Kills at random moments until a run gets through; `effects` counts, outside the runner's own books."""
    chance = random.Random(7)
    shell = Shell(tmp_path)
    # The line is written as the very last thing, and only whole datums count.
    script = f'cp $in /pfs/out/; echo "$(basename $in)" >> {tmp_path}/ran; sleep 0.02'
    shell.write(
        spec("first", "src", script, parallelismSpec={"constant": 3}),
        spec("second", "first", "cp $in /pfs/out/"),
        spec("third", "second", "cat /pfs/in/* > /pfs/out/all", glob="/"),
    )
    expected = {}
    all_kills = 0
    for round_ in range(4):
        for index in range(12):
            (shell.source / f"{round_}-{index:02d}").write_text(f"{round_} {index}\n")
            expected[f"{round_}-{index:02d}"] = f"{round_} {index}\n"
        kills = 0
        while True:
            process = subprocess.Popen(shell.run_words(), cwd=ROOT, stderr=subprocess.DEVNULL)
            # Later and later, so that an end is certain.
            time.sleep(chance.uniform(0.0, 0.4 + 0.25 * kills))
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
            kills += 1
            assert kills < 60
        assert kills > 0
        all_kills += kills
        until(lambda: not processes_in(tmp_path / "root"))
        assert shell.run().returncode == 0
        folder = max((tmp_path / "root/repos/second").glob("0*[0-9]"))
        assert {path.name: path.read_text() for path in folder.iterdir()} == expected
        whole = max((tmp_path / "root/repos/third").glob("0*[0-9]")) / "all"
        assert whole.read_text() == "".join(expected[name] for name in sorted(expected))
    # Twice only where the kill fell between the work and the note of it: at most one per worker and kill.
    again = sum(ran(tmp_path).values()) - len(expected)
    assert again <= 3 * all_kills
    job = Store(tmp_path / "root").pipeline("first").last()
    assert job is not None
    assert job.counts == {"skipped": 36, "processed": 12}


@pytest.mark.faults
@pytest.mark.parametrize(
    "step",
    [
        "store.journal.JobFolder.append",
        "store.journal.JobFolder.settle",
        "store.repos.Repo.publish",
        "store.files.write_json",
        "store.journal.Journal.save",
        "worker.outputs.collect",
        "store.repos.Repo.tick",
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_round_each_step_that_writes(tmp_path: Path, step: str, when: str) -> None:
    """The runner kills itself at every call of the step in turn, until one run gets through."""
    bench = Bench(tmp_path)
    bench.put("a", "1")
    bench.put("b", "2")
    marker = tmp_path / "ran"
    cron = {"cron": {"name": "tick", "spec": "@never", "overwrite": True}}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ticking = {**spec("ticker", "src", "echo $tick > /pfs/out/t"), "input": cron}
    copy = spec("copy", "src", f'echo "$(basename $in)" >> {marker}; cp $in /pfs/out/')
    for call in range(200):
        done = subprocess.run(
            [sys.executable, str(program), step, when, str(call), repr([ticking, copy]), str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        raise AssertionError("it never got through")
    assert call > 0
    bench.run(copy)
    assert bench.files("copy") == {"/a": "1", "/b": "2"}
    assert bench.states("copy").keys() == {"/a", "/b"}


PROGRAM = """
import ast, importlib, os, signal, sys
from pathlib import Path
from pachyderm.local import jobs, runner
from pachyderm.local.store import files, journal, repos
from pachyderm.local.worker import outputs, worker
from pachyderm.local.worker.mapping import LocalMapping

step, when, call, specs, folder = sys.argv[1:]
path, _, name = step.rpartition(".")
module, _, owner = path.rpartition(".")
if owner[0].isupper():
    owners = [getattr(importlib.import_module(f"pachyderm.local.{module}"), owner)]
else:
    owners = [files, jobs, journal, outputs, repos, runner, worker]
    module = path
(original,) = {one for owner in owners if (one := vars(owner).get(name))}
left = int(call)

def killing(*arguments, **options):
    global left
    left -= 1
    if left < 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments, **options)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

for owner in owners:
    if vars(owner).get(name) is original:
        setattr(owner, name, killing)
specs = {one["pipeline"]["name"]: one for one in ast.literal_eval(specs)}
folder = Path(folder)
options = runner.Options(folder / "root", specs, LocalMapping(), {"src": folder / "src"}, tick=True)
sys.exit(any(job.state != "success" for job in runner.run(options)))
"""
