"""How a datum went, as workers report it and the journal keeps it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pachyderm.local.store.files import File

PROCESSED, SKIPPED, FAILED, RECOVERED = "processed", "skipped", "failed", "recovered"


@dataclass(frozen=True, slots=True)
class Result:
    """How a datum went.

    Attributes:
        seconds: of all tries.
        outputs: the files it wrote, by path.
        error: why the last try failed, with the last line of its log.

    """

    id: str
    hash: str
    label: str
    state: str
    tries: int = 0
    seconds: float = 0.0
    outputs: Mapping[str, File] = field(default_factory=dict)
    error: str = ""


def write_line(result: Result) -> str:
    """The result as a line of the journal."""
    outputs = {path: [file.hash, file.size] for path, file in result.outputs.items()}
    return json.dumps({**asdict(result), "outputs": outputs}, ensure_ascii=False) + "\n"


def read_line(line: bytes) -> Result:
    """A line of the journal as a result."""
    fields = json.loads(line)
    return Result(**{**fields, "outputs": {path: File(*entry) for path, entry in fields["outputs"].items()}})
