"""How a datum went, as workers report it and the journal keeps it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from pachyderm.local.store.files import File

PROCESSED, SKIPPED, FAILED, RECOVERED = "processed", "skipped", "failed", "recovered"


@dataclass(frozen=True, slots=True)
class Result:
    """How a datum went.

    Attributes:
        seconds: of all tries.
        outputs: the files it wrote, by path.
        error: why the last try failed, with the last line of its log.
        start: of the seconds, those that a batched process took to start.
        size: bytes of its input; 0 where an older version wrote it down.

    """

    id: str
    hash: str
    label: str
    state: str
    tries: int = 0
    seconds: float = 0.0
    outputs: Mapping[str, File] = field(default_factory=dict)
    error: str = ""
    start: float = 0.0
    size: int = 0


_FIELDS = tuple(each.name for each in fields(Result))


def write_line(result: Result) -> str:
    """The result as a line of the journal."""
    outputs = {path: [file.hash, file.size] for path, file in result.outputs.items()}
    # By hand: asdict copies deeply, and took a third of the time of a job that skips all its datums.
    return (
        json.dumps({**{name: getattr(result, name) for name in _FIELDS}, "outputs": outputs}, ensure_ascii=False) + "\n"
    )


def read_line(line: bytes) -> Result | None:
    """A line of the journal as a result; None for a damaged one, whose datum is then done again."""
    try:
        fields = json.loads(line)
        outputs = {str(path): File(str(hash_), int(size)) for path, (hash_, size) in fields["outputs"].items()}
        result = Result(**{**fields, "outputs": outputs})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    texts = (result.id, result.hash, result.label, result.state, result.error)
    numbers = (result.tries, result.seconds, result.start, result.size)
    whole = all(isinstance(text, str) for text in texts) and all(isinstance(number, int | float) for number in numbers)
    return result if whole else None
