"""The note that each stage writes below `rejected/` for a file that it refuses."""

from runtime.errors import InputError


def note_of(name: str, error: InputError) -> dict[str, object]:
    """The note: the object's name, what is wrong with it, where, and what its owner can do."""
    return {"object": name, "row": error.row, "column": error.column, "reason": error.reason, "remedy": error.remedy}
