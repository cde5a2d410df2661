"""What is written below `rejected/` of a file that is refused, by each stage alike."""

from runtime.errors import InputError


def note_of(name: str, error: InputError) -> dict[str, object]:
    """What is wrong with the object of this name, where, and what its owner can do."""
    return {"object": name, "row": error.row, "column": error.column, "reason": error.reason, "remedy": error.remedy}
