"""How long a job will take, by the journal of the jobs before it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pachyderm.local.datums import Datum, datums
from pachyderm.local.estimate import Seconds, seconds_of
from pachyderm.local.store.files import File
from pachyderm.local.store.journal import SUCCESS, Journal
from pachyderm.local.store.repos import Commit
from pachyderm.local.store.results import FAILED, PROCESSED, SKIPPED, Result
from pachyderm.spec.reading import Pipeline, parse_pipeline

# Bytes, seconds and the start in them: 2 s a datum, whatever its size; and 1 s for 100 bytes.
EACH = [(100, 5.0, 3.0), (900, 2.0, 0.0), (400, 2.2, 0.0), (700, 1.8, 0.0)]
PER_BYTE = [(100, 4.0, 3.0), (900, 9.0, 0.0), (400, 4.0, 0.0)]


def pipeline(**fields: Any) -> Pipeline:
    input_ = {"pfs": {"name": "in", "repo": "repo", "glob": "/*"}}
    return parse_pipeline({"pipeline": {"name": "p"}, "transform": {"cmd": ["x"]}, "input": input_, **fields})


def to_do(*sizes: int) -> list[Datum]:
    files = {f"/{place}": File("", size) for place, size in enumerate(sizes)}
    return datums(pipeline(), {"repo": Commit("repo", 1, "c" * 32, Path("/nowhere"), files)}, "")


def note_job(journal: Journal, took: list[tuple[int, float, float]], *others: Result, spec: str = "spec") -> None:
    """A job whose datums took so long, and others of which nothing is to be learnt."""
    done = [
        Result(str(place), "", "", PROCESSED, 1, seconds, start=start, size=size)
        for place, (size, seconds, start) in enumerate(took)
    ]
    job = journal.begin("id", {}, spec, "salt")
    journal.of(job.number).append([*done, *others])
    journal.save(replace(job.finish(SUCCESS), counts=dict(Counter(result.state for result in [*done, *others]))))


@pytest.mark.parametrize(
    ("took", "sizes", "fields", "workers", "seconds"),
    [
        # One set for a worker: a start, and the datums.
        (EACH, (10, 10, 10), {"datumSetSpec": {"perWorker": 1}}, 1, 3 + 3 * 2),
        (PER_BYTE, (100, 600), {"datumSetSpec": {"perWorker": 1}}, 1, 3 + 7),
        # Each datum a set.
        (EACH, (10, 10, 10), {"datumSetSpec": {"number": 1}}, 1, 3 * (3 + 2)),
        # Four workers in the spec, of which there is room for two.
        (EACH, (10,) * 4, {"datumSetSpec": {"number": 1}, "parallelismSpec": {"constant": 4}}, 2, 2 * (3 + 2)),
        (PER_BYTE, (900, 100, 100), {"datumSetSpec": {"number": 1}}, 2, 3 + 9),
    ],
)
def test_a_job_takes_what_earlier_datums_took(
    tmp_path: Path,
    took: list[tuple[int, float, float]],
    sizes: tuple[int, ...],
    fields: dict[str, Any],
    workers: int,
    seconds: float,
) -> None:
    """Each the mean of them, or as much for a byte, whichever is closer; a start for each set."""
    journal = Journal(tmp_path)
    skipped, failed = Result("s", "", "", SKIPPED, size=5), Result("f", "", "", FAILED, 3, 99.0, size=5)
    note_job(journal, took[:2], skipped, failed)
    note_job(journal, took[2:])
    note_job(journal, [])
    made = replace(pipeline(**fields), digest="spec")
    told = seconds_of(journal, made, "salt", to_do(*sizes), workers)
    assert told
    assert told.number == pytest.approx(seconds)
    assert not told.outdated
    assert seconds_of(journal, made, "salt", [], workers) == Seconds(0.0)


@pytest.mark.parametrize(("spec", "salt"), [("another", "salt"), ("spec", "renewed")])
def test_seconds_of_another_model_are_called_outdated(tmp_path: Path, spec: str, salt: str) -> None:
    """Options stand in the spec, and a new model takes `--reprocess`: what it will take, earlier datums do not say."""
    journal, made = Journal(tmp_path), replace(pipeline(), digest=spec)
    note_job(journal, EACH)
    told = seconds_of(journal, made, salt, to_do(10), 1)
    assert told == Seconds(5.0, outdated=True)
    # One datum of its own counts more than any number of others.
    job = journal.begin("id", {}, spec, salt)
    journal.of(job.number).append([Result("0", "", "", PROCESSED, 1, 40.0, size=10)])
    journal.save(replace(job.finish(SUCCESS), counts={PROCESSED: 1}))
    assert seconds_of(journal, made, salt, to_do(10), 1) == Seconds(40.0)


def test_of_a_pipeline_that_never_ran_nothing_is_foretold(tmp_path: Path) -> None:
    assert seconds_of(Journal(tmp_path / "none"), pipeline(), "", to_do(1), 1) is None
    assert seconds_of(Journal(tmp_path / "none"), pipeline(), "", [], 1) == Seconds(0.0)
