"""How long a job will take, by what earlier datums of its pipeline took."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from pachyderm.local.datums import Datum, cut_into_sets
from pachyderm.local.store.journal import Journal
from pachyderm.local.store.results import PROCESSED, Result
from pachyderm.spec.reading import Pipeline

# So many datums are enough, those of the newest jobs.
_ENOUGH = 1000


class Seconds(NamedTuple):
    """What a job will take; `outdated` if it is judged by datums of another spec, or of before a `--reprocess`."""

    number: float
    outdated: bool = False


def seconds_of(journal: Journal, pipeline: Pipeline, salt: str, todo: Sequence[Datum], workers: int) -> Seconds | None:
    """What these datums will take with at most so many workers; None where none was ever processed.

    A datum is taken to need the mean time of the earlier ones, or their time per byte, whichever fits them better.
    Where a process serves the datums, each set also needs the mean time of the earlier starts.
    """
    known, outdated = _history(journal, pipeline.digest, salt)
    if not todo or not known:
        return None if todo else Seconds(0.0)
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
    return Seconds(max(free), outdated)


def _error(known: Sequence[Result], each: float, per_byte: float) -> float:
    return sum(abs(result.seconds - result.start - each - per_byte * result.size) for result in known)


def _history(journal: Journal, spec: str, salt: str) -> tuple[list[Result], bool]:
    """What is known of earlier datums, and whether they are all of another model or other options, as it may be."""
    jobs = [job for job in reversed(journal.jobs()) if job.counts.get(PROCESSED)]
    alike = [job for job in jobs if (job.spec, job.salt) == (spec, salt)]
    known: list[Result] = []
    for job in alike or jobs:
        if len(known) < _ENOUGH:
            known += [result for result in journal.of(job.number).results().values() if result.state == PROCESSED]
    return known, not alike
