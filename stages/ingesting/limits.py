"""How large a table and its pieces may be, so that no file takes more than its share of memory, disk and time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.errors import InputError
from stages.csvs.columns import LONGEST_FIELD

# Below so many bytes an archive is taken whatever its ratio: headers of equal rows shrink to nothing.
HARMLESS = 64 << 20


def _limit(default: int, option: str, text: str) -> int:
    value: int = field(default=default, metadata={"option": option, "help": text})
    return value


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused beyond; each is an option, whose name and help stand beside it."""

    field_bytes: int = _limit(LONGEST_FIELD, "--max-field", "longest field, in bytes")
    columns: int = _limit(2_000, "--max-columns", "largest number of columns in a table")
    blank_lines: int = _limit(100_000, "--max-blank-lines", "largest number of blank lines in a CSV")
    name_bytes: int = _limit(1_024, "--max-name", "longest name of an object or a column, in bytes")
    unpacked_bytes: int = _limit(8_000_000_000, "--max-unpacked", "largest unpacked archive, in bytes")
    ratio: int = _limit(
        200, "--max-ratio", f"how many times its own size an archive may unpack to, above {HARMLESS >> 20} MiB"
    )


def check_name(name: str, limits: Limits) -> None:
    """Raises InputError for a name that is too long."""
    size = len(os.fsencode(name))
    if size > limits.name_bytes:
        raise InputError(f"a name of {size} bytes, and at most {limits.name_bytes} are taken", remedy=_remedy(size))


def check_column_names(header: Sequence[str], limits: Limits) -> None:
    """Raises InputError for a column's name that is too long: `load` writes it again beside each of its values."""
    for number, name in enumerate(header, 1):
        size = len(name.encode())
        if size > limits.name_bytes:
            raise InputError(
                f"column {number} has a name of {size:,} bytes, and at most {limits.name_bytes:,} are taken",
                row=0,
                remedy=_remedy(size),
            )


def check_unpacked(unpacked: int, size: int, what: str, limits: Limits) -> None:
    """Raises InputError if what takes `size` bytes has become too many."""
    if unpacked > limits.unpacked_bytes:
        raise InputError(
            f"{what} of more than {limits.unpacked_bytes:,} bytes unpacked",
            remedy="cut the table into several files, or allow more with --max-unpacked",
        )
    if unpacked > max(HARMLESS, size * limits.ratio):
        raise InputError(
            f"{what} that unpacks to more than {limits.ratio} times its size",
            remedy="put the table there unpacked, or allow more with --max-ratio",
        )


def _remedy(size: int) -> str:
    return f"give it a shorter name, or allow longer ones with --max-name {size}"
