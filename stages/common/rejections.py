"""The note that each stage writes below `rejected/` for a file that it refuses."""

from runtime.errors import InputError
from stages.common.names import Origin


def note_of(origin: Origin, error: InputError) -> dict[str, object]:
    """The note: the object's name, what is wrong with it, where, and what its owner can do.

    The error counts the rows of one part, the note those of the object.
    """
    return {
        "object": origin.file,
        "row": row_of(origin, error),
        "column": error.column,
        "reason": error.reason,
        "remedy": error.remedy,
    }


def row_of(origin: Origin, error: InputError) -> int | None:
    """The object's data row that the error is about, from 1."""
    return None if error.row is None else origin.first_row + error.row - 1
