"""Objects of a source -> files on this machine, several at a time, in order."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import AnswermillError
from runtime.os_errors import describe
from stages.ingesting.source import Advance, Source, SourceObject


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What became of one object.

    Attributes:
        name: relative to the source's URL.
        item: what was copied; None if the object is gone, or could not be had.
        path: the copy, which is removed when the next one is asked for.
        error: why it could not be had, or None.

    """

    name: str
    item: SourceObject | None
    path: Path
    error: AnswermillError | None = None


def fetch_all(
    source: Source, objects: Mapping[str, SourceObject], folder: Path, concurrency: int, advance: Advance
) -> Iterator[FetchResult]:
    """The objects in order, `concurrency` of them at a time; no more than twice as many wait in `folder`."""
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="answermill-fetch")

    def fetch(number: int, name: str) -> FetchResult:
        path = folder / f"object-{number}"
        try:
            with path.open("wb") as file:
                return FetchResult(name, source.fetch(objects[name], file, advance), path)
        except AnswermillError as error:
            return FetchResult(name, None, path, error)
        except OSError as error:
            return FetchResult(name, None, path, AnswermillError(describe(error, path)))

    waiting: deque[Future[FetchResult]] = deque()
    names = iter(enumerate(objects))
    try:
        while True:
            while len(waiting) < 2 * concurrency and (following := next(names, None)):
                waiting.append(pool.submit(fetch, *following))
            if not waiting:
                return
            result = waiting.popleft().result()
            yield result
            result.path.unlink(missing_ok=True)
    finally:
        # Without waiting: a request may hang for as long as its timeout, and SIGTERM is to end the stage in a second.
        pool.shutdown(wait=False, cancel_futures=True)
