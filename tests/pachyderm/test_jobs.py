"""Jobs of the local runner: what is done, skipped, replaced and removed, and what a failure holds up."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pachyderm.errors import PachydermError, SpecError
from pachyderm.local.runner import run
from tests.support.pachyderm_kit import COPY, Bench, spec

# Fails for a file that says so.
FRAGILE = "cp -rL /pfs/in/. /pfs/out/; ! grep -rq broken /pfs/in/"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_only_changed_datums_are_done_again(bench: Bench) -> None:
    """Unchanged datums are skipped, and the output of deleted ones is removed."""
    copy = spec("copy", "src", COPY)
    bench.put("same", "1")
    bench.put("changing", "1")
    bench.put("leaving", "1")
    assert bench.run(copy)["copy"].counts == {"processed": 3}
    bench.put("changing", "2")
    bench.put("new", "1")
    (bench.source / "leaving").unlink()
    assert bench.run(copy)["copy"].state == "success"
    assert bench.states("copy") == {"/same": "skipped", "/changing": "processed", "/new": "processed"}
    assert bench.files("copy") == {"/same": "1", "/changing": "2", "/new": "1"}


def test_nothing_new_is_nothing_to_do(bench: Bench) -> None:
    bench.put("a", "1")
    assert bench.run(spec("copy", "src", COPY))
    assert bench.run(spec("copy", "src", COPY)) == {}


def test_another_script_alone_does_nothing_again(bench: Bench) -> None:
    """Only `--reprocess` does everything again."""
    bench.put("a", "1")
    bench.run(spec("copy", "src", COPY))
    louder = spec("copy", "src", "echo loud > /pfs/out/a")
    assert bench.run(louder)["copy"].counts == {"skipped": 1}
    assert bench.files("copy") == {"/a": "1"}
    assert bench.run(louder, reprocess=frozenset(["copy"]))["copy"].counts == {"processed": 1}
    assert bench.files("copy") == {"/a": "loud\n"}


def test_every_job_never_skips(bench: Bench) -> None:
    always = spec("copy", "src", COPY, reprocessSpec="every_job")
    bench.put("a", "1")
    bench.run(always)
    bench.put("b", "1")
    assert bench.run(always)["copy"].counts == {"processed": 2}


def test_a_failed_job_is_no_base(bench: Bench) -> None:
    copy = spec("copy", "src", FRAGILE, datumTries=1)
    bench.put("a", "1")
    assert bench.run(copy)["copy"].state == "success"
    bench.put("b", "1")
    bench.put("c", "broken")
    assert bench.run(copy)["copy"].state == "failure"
    assert bench.states("copy") == {"/a": "skipped", "/b": "processed", "/c": "failed"}
    assert bench.files("copy") == {"/a": "1"}
    bench.put("c", "1")
    assert bench.run(copy)["copy"].state == "success"
    assert bench.states("copy") == {"/a": "skipped", "/b": "processed", "/c": "processed"}


def test_nothing_runs_downstream_of_a_failed_job(bench: Bench) -> None:
    """All other pipelines run."""
    pipelines = [
        spec("first", "src", FRAGILE, datumTries=1),
        spec("second", "first", COPY),
        spec("third", "second", COPY),
        spec("other", "src", COPY),
    ]
    bench.put("a", "1")
    bench.run(*pipelines)
    bench.put("b", "broken")
    jobs = bench.run(*pipelines)
    assert {name: job.state for name, job in jobs.items()} == {
        "first": "failure",
        "second": "unrunnable",
        "third": "unrunnable",
        "other": "success",
    }
    assert jobs["third"].reason == "first failed"
    assert bench.files("third") == {"/a": "1"}
    bench.put("b", "2")
    assert {job.state for job in bench.run(*pipelines).values()} == {"success"}
    assert bench.files("third") == {"/a": "1", "/b": "2"}


def test_a_failed_job_is_tried_again_by_the_next_run(bench: Bench) -> None:
    flag = bench.folder / "flag"
    needy = spec("copy", "src", f"test -e {flag}; {COPY}", datumTries=1)
    bench.put("a", "1")
    assert bench.run(needy)["copy"].state == "failure"
    flag.touch()
    assert bench.run(needy)["copy"].state == "success"


def test_all_datums_run_even_when_one_fails(bench: Bench) -> None:
    for name in "abc":
        bench.put(name, "broken" if name == "a" else "1")
    job = bench.run(spec("copy", "src", FRAGILE, datumTries=1))["copy"]
    assert job.counts == {"failed": 1, "processed": 2}
    assert job.reason == "datum /a failed: exit code 1"


def test_an_empty_repo_has_no_datums_and_its_job_succeeds(bench: Bench) -> None:
    job = bench.run(spec("copy", "src", COPY, glob="/"))["copy"]
    assert (job.state, job.counts) == ("success", {})
    assert bench.files("copy") == {}


def test_the_same_path_from_two_datums_fails_the_job(bench: Bench) -> None:
    bench.put("a", "1")
    bench.put("b", "1")
    job = bench.run(spec("copy", "src", "echo x > /pfs/out/same"))["copy"]
    assert job.state == "failure"
    assert job.reason == "duplicate path output by different datums: /same by /a and /b"
    assert bench.files("copy") == {}


def test_a_file_where_another_datum_has_a_folder_fails_the_job(bench: Bench) -> None:
    bench.put("a", "x")
    bench.put("b", "x")
    script = 'if test -e /pfs/in/a; then echo > /pfs/out/x; else mkdir /pfs/out/x; echo > "/pfs/out/x/y"; fi'
    job = bench.run(spec("copy", "src", script))["copy"]
    assert (job.state, job.reason) == ("failure", "file / directory path collision: /x is both")


def test_datums_run_side_by_side(bench: Bench) -> None:
    """Each waits for the other, which only ends if both run at once."""
    bench.put("a", "1")
    bench.put("b", "1")
    meeting = bench.folder / "meeting"
    meeting.mkdir()
    script = f'touch {meeting}/$(basename "$in"); while test $(ls {meeting} | wc -l) -lt 2; do sleep 0.05; done'
    together = spec("copy", "src", script, parallelismSpec={"constant": 2}, datumTimeout="60s", datumTries=1)
    assert bench.run(together)["copy"].state == "success"


def test_workers_that_do_not_fit_the_machine_wait(bench: Bench) -> None:
    for index in range(4):
        bench.put(str(index), "1")
    busy = bench.folder / "busy"
    script = f"mkdir {busy}; sleep 0.1; rmdir {busy}"
    big = spec("copy", "src", script, parallelismSpec={"constant": 4}, resourceRequests={"cpu": 100_000})
    assert bench.run(big)["copy"].counts == {"processed": 4}
    assert {result.tries for result in bench.results("copy").values()} == {1}


def test_cron_ticks_replace_each_other_or_gather(bench: Bench) -> None:
    def ticking(*, overwrite: bool) -> dict[str, Any]:
        name = "mirror" if overwrite else "diary"
        cron = {"cron": {"name": "tick", "spec": "@never", "overwrite": overwrite}}
        script = 'test -f "$tick"; test ! -s "$tick"; basename "$tick" > "/pfs/out/$(basename "$tick")"'
        return {**spec(name, "src", script), "input": cron}

    specs = [ticking(overwrite=True), ticking(overwrite=False)]
    assert bench.run(*specs)["mirror"].counts == {}  # the job of its creation
    assert bench.run(*specs) == {}
    for _ in range(2):
        assert {job.state for job in bench.run(*specs, tick=True).values()} == {"success"}
    (tick,) = bench.files("mirror")
    assert bench.files("mirror_tick").keys() == {tick}
    assert len(bench.files("diary")) == 2
    assert sorted(bench.states("diary").values()) == ["processed", "skipped"]
    assert bench.files("mirror") == {tick: tick[1:] + "\n"}


def test_a_cron_input_ticks_when_it_is_due(bench: Bench) -> None:
    cron = {"cron": {"name": "tick", "spec": "@hourly", "start": "2026-01-01T00:00:00Z"}}
    hourly = {**spec("hourly", "src", 'basename "$tick"'), "input": cron}
    assert bench.run(hourly)["hourly"].counts == {"processed": 1}
    assert bench.run(hourly) == {}


def test_jobs_of_one_change_share_an_id(bench: Bench) -> None:
    bench.put("a", "1")
    jobs = bench.run(spec("first", "src", COPY), spec("second", "first", "env > /pfs/out/env"))
    assert jobs["first"].id == jobs["second"].id
    assert f"in_COMMIT={jobs['first'].id}" in bench.files("second")["/env"].splitlines()


def test_a_pipeline_can_be_run_alone_on_what_others_left(bench: Bench) -> None:
    bench.put("a", "1")
    bench.run(spec("first", "src", COPY))
    assert bench.run(spec("second", "first", COPY))["second"].counts == {"processed": 1}
    assert bench.files("second") == {"/a": "1"}


def test_job_timeout_kills_the_job(bench: Bench) -> None:
    bench.put("a", "1")
    began = time.monotonic()
    job = bench.run(spec("slow", "src", "sleep 600", jobTimeout="1s", datumTimeout="900s"))["slow"]
    assert (job.state, job.reason) == ("killed", "jobTimeout of 1 s")
    assert time.monotonic() - began < 300


def test_old_jobs_and_commits_are_forgotten_but_for_the_base(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pachyderm.local.store.journal.KEPT", 2)
    monkeypatch.setattr("pachyderm.local.store.repos.KEPT", 2)
    copy = spec("copy", "src", FRAGILE, datumTries=1)
    bench.put("a", "1")
    bench.run(copy)
    bench.put("b", "broken")
    for index in range(4):
        bench.put("c", str(index))
        bench.run(copy)
    assert sorted(path.name for path in (bench.root / "jobs/copy").glob("0*")) == ["000001", "000004", "000005"]
    bench.put("b", "2")
    bench.run(copy)
    assert bench.states("copy")["/a"] == "skipped"
    assert bench.files("copy") == {"/a": "1", "/b": "2", "/c": "3"}


def test_what_one_machine_does_not_do_is_refused_by_name(bench: Bench) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"egress": {"URL": "s3://b"}}, "egress"),
        ({"service": {"internalPort": 80}}, "services"),
        ({"s3Out": True}, "S3 output"),
        ({"spout": {"service": {"internalPort": 1}}}, "spouts"),
    ]
    for fields, message in cases:
        with pytest.raises(SpecError, match=message):
            run(bench.options({**spec("copy", "src", COPY), **fields}))
    for field, value, message in [
        ("lazy", True, "lazy inputs"),
        ("trigger", {"size": "1G"}, "triggers"),
        ("branch", "dev", "branches other than master"),
    ]:
        wanting = spec("copy", "src", COPY)
        wanting["input"]["pfs"][field] = value
        with pytest.raises(SpecError, match=message):
            run(bench.options(wanting))
    s3 = spec("copy", "src", COPY, glob="/")
    s3["input"]["pfs"]["s3"] = True
    with pytest.raises(SpecError, match="S3 inputs"):
        run(bench.options(s3))
    assert not (bench.root / "jobs").exists()


def test_a_name_that_a_repo_does_not_take_is_refused(bench: Bench) -> None:
    """The put is refused, not a later job."""
    bench.put("é.csv", "1")
    with pytest.raises(PachydermError, match=r"é.csv: only printable ASCII is allowed; rename it"):
        bench.run(spec("copy", "src", COPY))


def test_a_broken_spec_is_refused_before_anything_is_written(bench: Bench) -> None:
    with pytest.raises(SpecError, match="datumTries"):
        bench.run(spec("copy", "src", COPY, datumTries="many"))
    assert not bench.root.exists()


def test_an_unknown_pipeline_cannot_be_reprocessed(bench: Bench) -> None:
    with pytest.raises(PachydermError, match="--reprocess nobody: no such pipeline; there are copy"):
        bench.run(spec("copy", "src", COPY), reprocess=frozenset(["nobody"]))


def test_a_torn_line_of_the_journal_is_no_line(bench: Bench) -> None:
    """As a runner leaves it that is killed within a write."""
    bench.put("a", "1")
    bench.put("b", "1")
    bench.run(spec("copy", "src", COPY))
    folder = bench.root / "jobs/copy/000001"
    lines = (folder / "datums.jsonl").read_text().splitlines()
    (folder / "datums.jsonl").write_text(lines[0] + "\n" + lines[1][:50])
    job = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**job, "state": "running"}))
    assert bench.run(spec("copy", "src", COPY))["copy"].restarts == 1
    assert bench.files("copy") == {"/a": "1", "/b": "1"}
    assert bench.states("copy") == {"/a": "processed", "/b": "processed"}
