"""`run --dry-run`: what a run would do now, without doing it or writing anything."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pachyderm.local.datums import datums
from pachyderm.local.estimate import seconds_of
from pachyderm.local.jobs import base_results, room_for
from pachyderm.local.runner import Options, is_up_to_date, runnable_pipelines
from pachyderm.local.store.files import File
from pachyderm.local.store.repos import Commit
from pachyderm.local.store.snapshot import digests
from pachyderm.local.store.store import Store
from pachyderm.local.ticks import ticks_due
from pachyderm.spec.reading import Pipeline, in_order
from runtime.cpu import available_cpus


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pipeline would do.

    Attributes:
        runs: whether it would have a job.
        waits_for: pipelines of this run that would make its input first; the figures are for the input of now.
        new, changed, skipped: datums.
        seconds: that the new and changed ones take, by what earlier ones did; None where there were none.
        outdated: whether those ran under another spec, or before a `--reprocess`: with another model, as it may be.

    """

    pipeline: str
    runs: bool
    waits_for: tuple[str, ...]
    new: int
    changed: int
    skipped: int
    seconds: float | None
    outdated: bool


def plan(options: Options) -> list[Plan]:
    """A plan per pipeline, in order. Raises what `run` raises before it begins."""
    pipelines = runnable_pipelines(options)
    store = Store(options.root)
    heads = _heads_to_be(options, pipelines, store)
    plans: dict[str, Plan] = {}
    for name in in_order({name: pipeline.input.repos() for name, pipeline in pipelines.items()}):
        reads = pipelines[name].input.repos()
        commits = {repo: heads.get(repo) or store.repo(repo).head() for repo in reads}
        plans[name] = _plan(options, pipelines[name], store, commits, plans)
    return list(plans.values())


def _plan(
    options: Options, pipeline: Pipeline, store: Store, commits: Mapping[str, Commit], plans: Mapping[str, Plan]
) -> Plan:
    journal, repo = store.pipeline(pipeline.name), store.repo(pipeline.name)
    salt = "" if pipeline.name in options.reprocess else journal.known_salt()
    waits_for = tuple(name for name in commits if name in plans and plans[name].runs)
    runs = bool(waits_for) or not is_up_to_date(journal, repo, pipeline, salt, commits)
    earlier = base_results(journal, repo, journal.base(repo), pipeline)
    wanted = datums(pipeline, commits, salt)
    todo = [datum for datum in wanted if datum.id not in earlier or earlier[datum.id].hash != datum.hash]
    new = sum(datum.id not in earlier for datum in todo)
    seconds = seconds_of(journal, pipeline, salt, todo, room_for(pipeline, available_cpus(), options.workers))
    counts = new, len(todo) - new, len(wanted) - len(todo)
    return Plan(pipeline.name, runs, waits_for, *counts, seconds and seconds.number, bool(seconds and seconds.outdated))


def _heads_to_be(options: Options, pipelines: Mapping[str, Pipeline], store: Store) -> dict[str, Commit]:
    """Commits that the run would make before its first job: of the user's folders, and of ticks."""
    heads: dict[str, Commit] = {}
    for name, source in options.repos.items():
        last = store.repo(name).head()
        files = digests(source) if source.is_dir() else {}
        heads[name] = last if last.number and files == last.files else _next(last, files)
    now = datetime.now(UTC).replace(microsecond=0)
    for pipeline in pipelines.values():
        for leaf, tick in ticks_due(store, pipeline, now, now=options.tick, remember=False):
            last = store.repo(leaf.repo).head()
            kept = {} if leaf.overwrite else last.files
            heads[leaf.repo] = _next(last, {**kept, f"/{tick}": File("", 0)})
    return heads


def _next(last: Commit, files: Mapping[str, File]) -> Commit:
    return replace(last, number=last.number + 1, files=files)


def table(plans: Sequence[Plan]) -> Iterator[list[str]]:
    """The plans in rows, with a head."""
    yield ["PIPELINE", "RUNS", "NEW", "CHANGED", "SKIPPED", "SECONDS", ""]
    for each in plans:
        notes = [f"and what {' and '.join(each.waits_for)} will give"] if each.waits_for else []
        notes += ["seconds of another spec, or of before --reprocess"] if each.outdated else []
        counts = (str(each.new), str(each.changed), str(each.skipped))
        seconds = "unknown" if each.seconds is None else str(math.ceil(each.seconds))
        yield [each.pipeline, "yes" if each.runs else "no", *counts, seconds, ", ".join(notes)]
