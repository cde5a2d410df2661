"""How a CSV is written: its delimiter, and which of its columns are the required ones."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from runtime.errors import InputError
from stages.csvs.columns import given_header
from stages.csvs.records import Reading, Records, check_header

_SPOKEN = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# What Excel writes for itself before the header.
_SEP_LINE = re.compile(rb'(?:\xef\xbb\xbf)*+"?sep=([^\w\s"]|\t)"?\r?\n', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """A header, as it is written and as it leaves.

    Attributes:
        own: the names in the file.
        names: the names that are passed on, without the last `dropped`.
        dropped: how many columns at the end have no name and nothing in them.

    """

    own: list[str]
    names: list[str]
    dropped: int = 0


def find_dialect(
    open_text: Callable[[], BinaryIO], required: Sequence[str], reading: Reading, remarks: list[str]
) -> Reading:
    """The reading under which the header holds both required columns; what is unusual goes to `remarks`.

    Raises InputError where none does.
    """
    with open_text() as stream:
        head = stream.read(64)
    if line := _SEP_LINE.match(head):
        delimiter = line[1].decode("ascii", "replace")
        remarks.append(f'obeyed its line "sep={delimiter}"')
        return replace(reading, delimiter=delimiter, skip=line.end())
    errors: list[tuple[int, InputError]] = []
    for delimiter, spoken in _SPOKEN.items():
        candidate = replace(reading, delimiter=delimiter)
        width = 0
        try:
            with open_text() as stream:
                header = Records(stream, None, candidate).header
            width = len(header)
            match_columns(header, required)
        except InputError as error:
            errors.append((width, error))
            continue
        if delimiter != ",":
            remarks.append(f"separated by {spoken}")
        return candidate
    # Of the delimiters that give no such column, that of the most columns is the likeliest.
    raise max(errors, key=lambda pair: pair[0])[1]


def match_columns(header: Sequence[str], required: Sequence[str]) -> dict[int, str]:
    """Which column is which required one: by its exact name, else without case and blanks, where only one is.

    Raises InputError where none is, or several are.
    """
    matches = {}
    for name in required:
        if name in header:
            matches[header.index(name)] = name
            continue
        alike = [index for index, own in enumerate(header) if _plain(own) == _plain(name)]
        if len(alike) > 1:
            raise InputError(
                f'{len(alike)} columns could be "{name}"', row=0, column=name, remedy="give one of them this very name"
            )
        if not alike:
            check_header(list(dict.fromkeys(header)), [name])
        matches[alike[0]] = name
    return matches


def mend_header(own: list[str], used: int, required: Sequence[str], remarks: list[str]) -> Header:
    """The header that is passed on, of which the columns from `used` on have no name and nothing in them."""
    names = own[:used]
    for index, name in match_columns(names, required).items():
        if names[index] != name:
            remarks.append(f'took the column "{names[index]}" as "{name}"')
            names[index] = name
    unnamed = [index for index, name in enumerate(names) if not name]
    # A single one, as pandas writes its index, stays without a name, unless it stands at the end.
    if len(unnamed) > 1 or unnamed == [len(names) - 1]:
        for index in unnamed:
            names[index] = f"column_{index + 1}"
        remarks.append(f"columns without a name called {', '.join(names[i] for i in unnamed[:5])}")
    check_header(names, required)
    given = given_header(names)
    if renamed := [f'"{old}" as "{new}"' for old, new in zip(names, given, strict=True) if old != new]:
        remarks.append(f"passed on {', '.join(renamed)}, since the answers have columns of these names")
    if used < len(own):
        remarks.append(f"empty columns dropped at the end: {len(own) - used}")
    return Header(own, given, len(own) - used)


def unnamed_at_end(header: Sequence[str]) -> int:
    """How many columns at the end have no name."""
    count = 0
    while count < len(header) and not header[-1 - count].strip():
        count += 1
    return count


def _plain(name: str) -> str:
    # str.strip knows the no-break space as a blank; a BOM that was written as text it does not.
    return name.strip("\ufeff").strip().casefold()
