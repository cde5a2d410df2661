"""How a CSV is written: its line ends, its delimiter, and which of its columns are the required ones."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from runtime.blanks import UNSEEN
from runtime.errors import InputError
from stages.csvs.columns import given_header
from stages.csvs.header import DELIMITERS, check_header, missing_column
from stages.csvs.records import Reading, Records
from stages.ingesting.line_ends import ReturnLines

Open = Callable[[], io.BufferedReader]
# What Excel writes for itself before the header.
_SEP_LINE = re.compile(rb'(?:\xef\xbb\xbf)*+"?sep=([!#-/:-@[-`{-~]|\t)"?(?:\r?\n|\r)', re.IGNORECASE)
_UNSEEN = re.compile(f"[{UNSEEN}]")
# How many rows may stand above a header for it still to be found, and named.
_ROWS_ABOVE = 20
# Bytes that are looked at for line ends.
_HEAD = 64 << 10


@dataclass(frozen=True, slots=True)
class Header:
    """A header, as it is in the file and as it is passed on.

    Attributes:
        own: the names in the file.
        names: the names that are passed on, without the last `dropped`.
        dropped: how many columns at the end have no name and nothing in them.

    """

    own: list[str]
    names: list[str]
    dropped: int = 0


def find_dialect(
    open_text: Open, required: Sequence[str], reading: Reading, remarks: list[str]
) -> tuple[Open, Reading, list[str]]:
    """The lines, how to read them so that their header holds both required columns, and the header.

    What is unusual goes to `remarks`. Raises InputError if no reading does, or several do.
    """
    with open_text() as stream:
        head = stream.read(_HEAD)
    ways: list[Open] = [open_text]
    if b"\r" in head:
        # Before the others if there is no line feed, since all the file would be one line.
        ways.insert(b"\n" in head, lambda: ReturnLines(open_text()))
    errors = []
    for open_lines in ways:
        try:
            reading, header = _find_reading(open_lines, head, required, reading, remarks)
        except InputError as error:
            errors.append(error)
            continue
        if open_lines is not open_text:
            remarks.append("its lines ended with carriage returns")
        return open_lines, reading, header
    raise errors[0]


def _find_reading(
    open_lines: Open, head: bytes, required: Sequence[str], reading: Reading, remarks: list[str]
) -> tuple[Reading, list[str]]:
    """The reading with the delimiter under which the header holds both required columns, and the header."""
    delimiters, named = list(DELIMITERS), ""
    if line := _SEP_LINE.match(head):
        named = line[1].decode()
        reading = replace(reading, skip=line.end())
        delimiters = [named, *(delimiter for delimiter in delimiters if delimiter != named)]
    fits: dict[str, list[str]] = {}
    errors: list[tuple[int, InputError]] = []
    for delimiter in delimiters:
        header: list[str] = []
        try:
            with open_lines() as stream:
                header = Records(stream, None, replace(reading, delimiter=delimiter)).header
            match_columns(header, required)
        except InputError as error:
            errors.append((len(header), error))
            continue
        fits[delimiter] = header
        if delimiter == named or not any(other in "".join(header) for other in DELIMITERS):
            break
    if not fits:
        _check_rows_above(open_lines, delimiters, required, reading)
        # Of the delimiters that give no such column, that of the most columns is the likeliest.
        raise max(errors, key=lambda pair: pair[0])[1]
    first = next(iter(fits))
    if first != named and len(fits) > 1:
        raise InputError(
            f"the header holds both columns if {' or '.join(DELIMITERS[each] for each in fits)} separate them",
            row=0,
            remedy=f'write a line above it that names the right one, such as "sep={first}"',
        )
    remarks += _dialect_remarks(first, named)
    return replace(reading, delimiter=first), fits[first]


def _dialect_remarks(delimiter: str, named: str) -> Iterator[str]:
    if delimiter == named:
        yield f'followed its line "sep={named}"'
    elif named:
        yield f'ignored its line "sep={named}", which does not fit the header'
    if delimiter not in (",", named):
        yield f"separated by {DELIMITERS[delimiter]}"


def _check_rows_above(open_lines: Open, delimiters: Sequence[str], required: Sequence[str], reading: Reading) -> None:
    """Raises InputError if the header stands below other rows, such as a title."""
    for delimiter in delimiters:
        count = 0
        try:
            with open_lines() as stream:
                records = Records(stream, None, replace(reading, delimiter=delimiter, fit=lambda _, raw, __: raw))
                for _ in islice(records, _ROWS_ABOVE):
                    count += 1
                    if _holds(records.fields, required):
                        break
                else:
                    continue
        except InputError:
            continue
        raise InputError(
            f"{count} row{'s stand' if count > 1 else ' stands'} above the header",
            row=0,
            remedy="remove what is above the header",
        )


def _holds(fields: Sequence[str], required: Sequence[str]) -> bool:
    return {_plain(name) for name in required} <= set(map(_plain, fields))


def match_columns(header: Sequence[str], required: Sequence[str]) -> dict[int, str]:
    """Which column is which required one: by its exact name, else without case and blanks if only one fits.

    Raises InputError if none is, or several are.
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
            raise missing_column(name, header, required)
        matches[alike[0]] = name
    return matches


def mend_header(own: list[str], used: int, required: Sequence[str], remarks: list[str]) -> Header:
    """The header to pass on; its columns from `used` on have neither a name nor content, and are dropped."""
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
        remarks.append(f"named columns that had no name: {', '.join(names[i] for i in unnamed[:5])}")
    check_header(names, required)
    given = given_header(names)
    if renamed := [f'"{old}" as "{new}"' for old, new in zip(names, given, strict=True) if old != new]:
        remarks.append(f"passed on {', '.join(renamed)}, since the answers have columns of these names")
    if used < len(own):
        remarks.append(f"empty columns dropped at the end: {len(own) - used}")
    return Header(own, given, len(own) - used)


def count_unnamed_at_end(header: Sequence[str]) -> int:
    """How many columns at the end have no name."""
    count = 0
    while count < len(header) and not header[-1 - count].strip():
        count += 1
    return count


def _plain(name: str) -> str:
    return _UNSEEN.sub("", name).strip().casefold()
