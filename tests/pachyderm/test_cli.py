"""`python -m pachyderm run|status|logs` as people and machines use them."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pachyderm.local.progress import line
from pachyderm.local.status import table
from pachyderm.roots import last_root
from tests.conftest import ROOT
from tests.support.pachyderm_kit import COPY, spec
from tests.support.waiting import until


class Shell:
    """A folder with specs and a repo, and the command line on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "src"
        self.source.mkdir()

    def write(self, *specs: dict[str, Any]) -> None:
        for one in specs:
            (self.folder / f"{one['pipeline']['name']}.pipeline.json").write_text(json.dumps(one))

    def words(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pachyderm", verb, *arguments, "--root", str(self.folder / "root")]

    def run_words(self, *arguments: str) -> list[str]:
        return self.words("run", str(self.folder), "--repo", f"src={self.source}", *arguments)

    def do(self, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, **environment}
        return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.do(self.run_words(*arguments), **environment)

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A runner in the background, which does not outlive the test."""
        with subprocess.Popen(self.run_words(*arguments), cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def show(self, verb: str, *arguments: str) -> str:
        done = self.do(self.words(verb, *arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_run_says_one_line_per_job(shell: Shell) -> None:
    shell.write(spec("copy", "src", COPY))
    (shell.source / "a").write_text("1")
    done = shell.run()
    assert (done.returncode, done.stderr) == (0, "run: copy job 1 success processed=1\n")
    again = shell.run()
    assert again.returncode == 0
    assert again.stderr.startswith("run: nothing to do")


def test_a_failure_is_in_the_exit_code_the_status_and_the_log(shell: Shell) -> None:
    shell.write(spec("copy", "src", "echo because >&2; exit 4", datumTries=2), spec("next", "copy", COPY))
    (shell.source / "a").write_text("1")
    done = shell.run("--json")
    assert done.returncode == 1
    assert [(job["pipeline"], job["state"]) for job in json.loads(done.stdout)] == [
        ("copy", "failure"),
        ("next", "unrunnable"),
    ]
    lines = shell.show("status").splitlines()
    assert "copy job 1 failure: datum /a failed: exit code 4: because" in lines
    assert "next job 1 unrunnable: copy failed" in lines
    assert any(line.startswith("  /a (") and line.endswith("2 tries): exit code 4: because") for line in lines)
    told = shell.do(shell.words("why"))
    assert told.returncode == 1
    assert "copy@1 failure: datum /a failed" in told.stdout
    assert "    | /a: because" in told.stdout
    assert "waiting for it: next@1" in told.stdout
    assert shell.show("logs", "copy") == "/a: because\n/a: because\n"


def test_status_is_a_table_for_people_and_json_for_machines(shell: Shell) -> None:
    shell.write(spec("copy", "src", COPY))
    (shell.source / "a").write_text("1")
    shell.run()
    (shell.source / "b").write_text("22")
    shell.run()
    rows = [line.split() for line in shell.show("status").splitlines()]
    assert rows[:3] == [["REPO", "COMMITS", "FILES", "BYTES"], ["copy", "2", "2", "3"], ["src", "2", "2", "3"]]
    assert rows[5][:7] == ["copy", "2", "success", "2", "1", "1", "0"]
    view = json.loads(shell.show("status", "--json"))
    (pipeline,) = view["pipelines"]
    assert [job["number"] for job in pipeline["jobs"]] == [1, 2]
    assert {datum["label"]: datum["state"] for datum in pipeline["datums"]} == {"/a": "skipped", "/b": "processed"}
    assert [file["path"] for file in view["repos"][0]["files"]] == ["/a", "/b"]
    details = [line.split() for line in shell.show("status", "copy").splitlines()]
    assert details[0] == ["JOB", "STATE", "DATUMS", "SECONDS", "REASON"]
    assert [row[-1] for row in details if row and row[1:2] in (["skipped"], ["processed"])] == ["/a", "/b"]


def test_logs_of_one_datum_and_of_an_earlier_job(shell: Shell) -> None:
    shell.write(spec("talk", "src", "cat $in"))
    (shell.source / "a").write_text("first\n")
    (shell.source / "b").write_text("second\n")
    shell.run()
    (shell.source / "a").write_text("third\n")
    shell.run()
    assert shell.show("logs", "talk") == "/a: third\n"
    assert shell.show("logs", "talk", "--job", "1") == "/a: first\n/b: second\n"
    assert shell.show("logs", "talk", "--job", "1", "--datum", "/b") == "/b: second\n"
    done = shell.do(shell.words("logs", "talk", "--datum", "/b"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "--datum /b: no datum of this job has such an id or path, and a log" in done.stderr


def test_what_is_not_there_is_said_in_one_line(shell: Shell) -> None:
    for words, message in [
        (shell.words("status"), "nothing has run here yet"),
        (shell.words("logs", "copy"), "nothing has run here yet"),
        (shell.words("run", str(shell.source)), "no *.pipeline.json in it"),
        (shell.words("run", "missing.json"), "missing.json: No such file or directory"),
    ]:
        done = shell.do(words)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_variables_are_passed_on_set_and_taken_away(shell: Shell) -> None:
    transform = {"env": {"A": "spec", "B": "spec", "C": "spec", "D": "spec"}}
    shell.write(spec("look", "src", 'echo "${A-} ${B-} ${C-} ${D-}" > /pfs/out/x', transform=transform))
    (shell.source / "a").write_text("1")
    assert shell.run("--env", "A=1", "--env", "B", "--env", "C", "--env", "D=", B="shell").returncode == 0
    assert (shell.folder / "root/repos/look/000001/x").read_text() == "1 shell  \n"


def test_paths_of_the_image_are_mapped(shell: Shell) -> None:
    shell.write(spec("look", "src", "cat /model/x > /pfs/out/x"))
    (shell.source / "a").write_text("1")
    (shell.folder / "x").write_text("bundle")
    assert shell.run("--map", f"/model={shell.folder}").returncode == 0
    assert (shell.folder / "root/repos/look/000001/x").read_text() == "bundle"


def test_a_second_runner_on_one_root_is_refused(shell: Shell) -> None:
    began = shell.folder / "began"
    shell.write(spec("slow", "src", f"touch {began}; sleep 600"))
    (shell.source / "a").write_text("1")
    with shell.started() as first:
        until(began.exists)
        second = shell.run()
        first.send_signal(signal.SIGTERM)
        _, told = first.communicate(timeout=60)
    assert second.returncode == 1
    assert second.stderr.endswith(
        f"root: in use by the runner with process id {first.pid}; wait, or give another --root\n"
    )
    assert (first.returncode, told) == (143, "run: terminated; run again to go on\n")


def test_status_lists_pipelines_that_had_no_job() -> None:
    """They wait for an input that has nothing in it, and whoever looks for them finds them."""
    waiting = {"name": "prune", "input": {}, "jobs": [], "datums": []}
    lines = list(table({"root": "r", "running": False, "repos": [], "pipelines": [waiting]}))
    assert [line.split() for line in lines][-1] == ["prune", "no", "job", "yet"]


def test_status_can_be_read_while_it_runs(shell: Shell) -> None:
    began, go = shell.folder / "began", shell.folder / "go"
    waiting = f'test "$(basename $in)" = a || {{ touch {began}; while ! test -e {go}; do sleep 0.05; done; }}'
    shell.write(spec("slow", "src", waiting))
    for name in "ab":
        (shell.source / name).write_text("1")
    with shell.started("--workers", "1") as process:
        until(began.exists)
        view = json.loads(shell.show("status", "--json"))
        go.touch()
        assert process.wait(60) == 0
    job = view["pipelines"][0]["jobs"][0]
    assert (job["state"], job["counts"]) == ("running", {"processed": 1})


def test_status_without_a_root_shows_what_ran_last(tmp_path: Path) -> None:
    roots = tmp_path / "pachyderm", tmp_path / "demo"
    assert last_root(roots) == roots[0]
    for root in roots:
        root.mkdir()
    for newest, root in enumerate(roots):
        (root / "lock").touch()
        os.utime(root / "lock", (newest, newest))
        assert last_root(roots) == root
    os.utime(roots[0] / "lock", (5, 5))
    assert last_root(roots) == roots[0]


def test_a_dry_run_says_what_would_run_and_writes_nothing(shell: Shell) -> None:
    cron = {"cron": {"name": "tick", "spec": "@never"}}
    shell.write(
        spec("copy", "src", COPY),
        spec("next", "copy", COPY),
        {**spec("clock", "src", "echo > /pfs/out/t"), "input": cron},
    )
    for name in "abc":
        (shell.source / name).write_text("1")
    shown = [line.split() for line in shell.do(shell.run_words("--dry-run")).stdout.splitlines()]
    assert ["copy", "yes", "3", "0", "0", "unknown"] in shown
    assert ["next", "yes", "0", "0", "0", "0", "and", "what", "copy", "will", "give"] in shown
    assert not (shell.folder / "root").exists()
    shell.run()
    (shell.source / "a").write_text("2")
    (shell.source / "b").unlink()
    (shell.source / "d").write_text("1")
    (shell.source / "e").write_text("1")
    before = sorted((shell.folder / "root").rglob("*"))
    plans = json.loads(shell.do(shell.run_words("--dry-run", "--json")).stdout)
    assert sorted((shell.folder / "root").rglob("*")) == before
    by_name = {one["pipeline"]: one for one in plans}
    assert [by_name["copy"][key] for key in ("runs", "new", "changed", "skipped")] == [True, 2, 1, 1]
    assert (by_name["next"]["runs"], by_name["next"]["waits_for"]) == (True, ["copy"])
    assert by_name["clock"]["runs"] is False
    shell.run()
    plans = json.loads(shell.do(shell.run_words("--dry-run", "--json")).stdout)
    assert {one["runs"] for one in plans} == {False}


def test_a_terminal_gets_a_live_view(shell: Shell) -> None:
    shell.write(spec("copy", "src", COPY))
    (shell.source / "a").write_text("1")
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 100))
    done = subprocess.run(shell.run_words(), cwd=ROOT, stderr=writer, timeout=60)
    os.close(writer)
    shown = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert done.returncode == 0
    assert "copy:   0%" in shown
    assert "copy: 100%" in shown


def test_the_live_line() -> None:
    counts = {"processed": 3, "skipped": 1, "failed": 1}
    assert line("load", 10, counts, 1, 8.0) == "load 5 of 10 datums, 1 skipped, 1 failed, 0.5 a second, 10 s left"
