"""How long a job will take, by what earlier datums of its pipeline took."""

import heapq
from collections.abc import Sequence

from pachyderm.local.datums import Datum, cut_into_sets
from pachyderm.local.store.journal import Journal
from pachyderm.local.store.results import PROCESSED, Result
from pachyderm.spec.reading import Pipeline

# Datums that tell enough; those of the newest jobs.
_ENOUGH = 1000


def seconds_of(journal: Journal, pipeline: Pipeline, todo: Sequence[Datum], workers: int) -> float | None:
    """Seconds that these datums will take with at most so many workers; None where none was ever processed.

    Each is taken to need the mean of the earlier ones, or as much for a byte as they did, whichever comes closer to
    what they took; and each set, where a process serves the datums, the mean of the earlier starts.
    """
    known = _history(journal)
    if not todo or not known:
        return None if todo else 0.0
    starts = [result.start for result in known if result.start]
    start = sum(starts) / len(starts) if starts else 0.0
    total = sum(result.seconds - result.start for result in known)
    each, size = total / len(known), sum(result.size for result in known)
    per_byte = total / size if size else 0.0
    if _error(known, 0.0, per_byte) < _error(known, each, 0.0):
        each = 0.0
    else:
        per_byte = 0.0
    sets = cut_into_sets(todo, pipeline, pipeline.workers)
    free = [0.0] * min(workers, len(sets))
    for datums in sets:
        heapq.heapreplace(free, free[0] + start + sum(each + per_byte * datum.size for datum in datums))
    return max(free)


def _error(known: Sequence[Result], each: float, per_byte: float) -> float:
    return sum(abs(result.seconds - result.start - each - per_byte * result.size) for result in known)


def _history(journal: Journal) -> list[Result]:
    known: list[Result] = []
    for job in reversed(journal.jobs()):
        if job.counts.get(PROCESSED) and len(known) < _ENOUGH:
            known += [result for result in journal.of(job.number).results().values() if result.state == PROCESSED]
    return known
