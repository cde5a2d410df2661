"""The columns that the stages add, and what becomes of a user's column with such a name."""

from collections.abc import Sequence

# What `answer` writes, in this order, with the type that each has in the table.
ANSWER_COLUMNS = {
    "answer": "text",
    "score": "double precision",
    "confidence": "real",
    "start": "int",
    "end": "int",
    "error": "text",
    "model": "text",
}
RANK = "rank"
GIVEN = "given_"
# Bytes of the longest field that is read, unless --max-field says more.
LONGEST_FIELD = 1_000_000


def is_given(name: str) -> bool:
    """Whether a user's column of this name is renamed: ours, or one of ours behind any number of `given_`."""
    while name.startswith(GIVEN):
        name = name.removeprefix(GIVEN)
    return name in ANSWER_COLUMNS or name == RANK


def given_header(header: Sequence[str]) -> list[str]:
    """The header to pass on: `answer` -> `given_answer`, and so `given_answer` -> `given_given_answer`.

    One `given_` more for each name that could be taken for ours, so that no two columns ever meet.
    """
    return [GIVEN + name if is_given(name) else name for name in header]


def own_name(name: str) -> str:
    """The user's own name for a column that was passed on: the inverse of `given_header`."""
    return name.removeprefix(GIVEN) if name.startswith(GIVEN) and is_given(name) else name
