"""What a header must hold, and what is said of a row that has another width."""

from collections import Counter
from collections.abc import Sequence

from runtime.errors import InputError
from stages.common.names import enumeration

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_ONE = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def check_header(header: Sequence[str], required: Sequence[str]) -> None:
    """Raises InputError for a header with a name twice, or without a required one."""
    name, count = Counter(header).most_common(1)[0]
    if count > 1:
        raise InputError("the header names it twice", row=0, column=name, remedy="give each column a name of its own")
    for name in required:
        if name not in header:
            raise missing_column(name, header, required)


def missing_column(name: str, header: Sequence[str], required: Sequence[str]) -> InputError:
    """The InputError for a header that lacks this required column."""
    return InputError(
        f"no such column among {_enumeration(header)}",
        row=0,
        column=name,
        remedy=_column_remedy(name, header, required),
    )


def width_error(fields: Sequence[str], width: int, row: int, delimiter: str = ",") -> InputError:
    """The InputError for a row that has more or fewer fields than the header."""
    if list(fields) == ["\x1a"]:
        return InputError("Ctrl-Z, with which DOS ends a file", row=row, remedy="remove it")
    return InputError(
        f"{len(fields)} fields where the header has {width}", row=row, remedy=_width_remedy(fields, width, delimiter)
    )


def _width_remedy(fields: Sequence[str], width: int, delimiter: str) -> str:
    if len(fields) < width:
        return "fill in the fields that are missing; if a line break cut the row, put its field in double quotes"
    if not any(fields[width:]):
        return "remove the empty fields at its end"
    return f"put fields that hold {_ONE.get(delimiter, delimiter)} or a line break in double quotes"


def _column_remedy(name: str, header: Sequence[str], required: Sequence[str]) -> str:
    if len(header) < len(required):
        for delimiter, spoken in DELIMITERS.items():
            if delimiter in header[0] and delimiter != ",":
                return f"separate the fields with commas instead of {spoken}, or pass the file through ingest"
        return f"give it the columns {' and '.join(required)}; in a CSV, separated by commas like the fields below them"
    if name in ("question", "context"):
        return (
            f"rename one, or say which it is with --{name}-column; if the first line is no header, write one above it"
        )
    return "rename one; if the first line is no header, write one above it"


def _enumeration(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    return enumeration([f'"{name[:60]}"' for name in names], 8)
