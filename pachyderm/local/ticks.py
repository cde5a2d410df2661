"""When cron inputs tick."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from pachyderm.local.store.journal import Journal
from pachyderm.local.store.store import Store
from pachyderm.spec import cron
from pachyderm.spec.inputs import Cron
from pachyderm.spec.reading import Pipeline

# Ticks of one second are told apart by dating some ahead; further ahead, a clock was wrong.
_FUTURE = timedelta(hours=1)


def tick(store: Store, pipeline: Pipeline, job_id: str, *, now: bool) -> None:
    """Lets the pipeline's cron inputs tick, where they are due or told to."""
    time = datetime.now(UTC).replace(microsecond=0)
    for leaf, name in ticks_due(store, pipeline, time, now=now, remember=True):
        store.repo(leaf.repo).tick(name, job_id, overwrite=leaf.overwrite)


def ticks_due(
    store: Store, pipeline: Pipeline, time: datetime, *, now: bool, remember: bool
) -> Iterator[tuple[Cron, str]]:
    """The pipeline's cron inputs that tick at `time`, or all of them, with the name of the file that says so."""
    for leaf in pipeline.input.leaves():
        if not isinstance(leaf, Cron):
            continue
        repo = store.repo(leaf.repo)
        latest = _last_tick(repo.head().files, time)
        if now:
            # Two ticks in one second would be one datum.
            name = cron.stamp(time if latest is None else max(time, latest + cron.SECOND))
        else:
            since = latest or _counts_from(store.pipeline(pipeline.name), leaf, time, remember=remember)
            if (due := cron.due(leaf.spec, since, time)) is None:
                continue
            name = cron.stamp(due)
        yield leaf, name


def _counts_from(journal: Journal, leaf: Cron, now: datetime, *, remember: bool) -> datetime:
    """When a cron input that has not ticked yet begins to count: its `start`, or when it was first seen."""
    if leaf.start:
        return datetime.fromisoformat(leaf.start).astimezone(UTC)
    return min(journal.first_seen(now, remember=remember), now)


def _last_tick(files: Iterable[str], now: datetime) -> datetime | None:
    """The newest of a cron repo's files. One from the far future, of a clock that was wrong, must not stop the rest."""
    times = []
    for path in files:
        with suppress(ValueError):
            times.append(datetime.fromisoformat(path[1:]).astimezone(UTC))
    return max((time for time in times if time <= now + _FUTURE), default=None)
