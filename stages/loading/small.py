"""Small files, read once and handled together: what a file costs by itself is more than what its rows do."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import BinaryIO

import polars as pl

from runtime.errors import InputError
from stages.csvs.parsing import parse
from stages.csvs.reader import Reader
from stages.csvs.regular import IrregularError, whole_records_of_each
from stages.loading.copying import AnsweredCsv, examine, is_verbatim, reordered_rows, rows_to_copy, verbatim_rows
from stages.loading.target import Target

SMALL_BYTES = 1 << 18


def examine_each(csvs: Sequence[AnsweredCsv], target: Target) -> dict[str, InputError | OSError]:
    """As `examine` of each, but small ones keep their records.

    Returns what is wrong with those that break a rule or cannot be read.
    """
    faults: dict[str, InputError | OSError] = {}
    apart: list[AnsweredCsv] = []
    headers: dict[bytes, tuple[str, ...]] = {}
    alike: dict[bytes, list[tuple[AnsweredCsv, bytes]]] = defaultdict(list)
    for csv in csvs:
        try:
            content = _read_small(csv.stream)
            line = content[: content.find(b"\n") + 1]
            if len(content) <= SMALL_BYTES and (line in headers or _learn(line, content, target, headers)):
                alike[line].append((csv, content))
            else:
                apart.append(csv)
        except (InputError, OSError) as error:
            faults[csv.path] = error
    faults |= _examine_apart(apart, target)
    for line, group in alike.items():
        faults |= _examine_alike(line, headers[line], group, target)
    return faults


def _read_small(stream: BinaryIO) -> bytes:
    """The file, or more of it than a small one has."""
    content = b""
    while len(content) <= SMALL_BYTES and (more := stream.read(SMALL_BYTES + 1 - len(content))):
        content += more
    return content


def _learn(line: bytes, content: bytes, target: Target, headers: dict[bytes, tuple[str, ...]]) -> bool:
    """Learns the header, if it is the first line and no more. Raises InputError as `Reader` does."""
    reader = Reader(io.BufferedReader(io.BytesIO(content)), target.required)
    if reader.header_bytes != len(line):
        return False
    headers[line] = tuple(reader.header)
    return True


def _examine_alike(
    line: bytes, header: tuple[str, ...], group: Sequence[tuple[AnsweredCsv, bytes]], target: Target
) -> dict[str, InputError | OSError]:
    bodies = [content[len(line) :] for _, content in group]
    bodies = [body if body.endswith(b"\n") or not body else body + b"\n" for body in bodies]
    try:
        blocks = iter(whole_records_of_each([body for body in bodies if body], len(header)))
    except IrregularError:
        return _examine_apart([csv for csv, _ in group], target)
    for (csv, content), body in zip(group, bodies, strict=True):
        csv.header = header
        csv.size = len(content)
        csv.sha256 = hashlib.sha256(content).hexdigest()
        csv.blocks = (next(blocks),) if body else ()
        csv.rows = sum(block.ends.size for block in csv.blocks)
    return {}


def _examine_apart(csvs: Sequence[AnsweredCsv], target: Target) -> dict[str, InputError | OSError]:
    faults: dict[str, InputError | OSError] = {}
    for csv in csvs:
        try:
            examine(csv, target)
        except (InputError, OSError) as error:
            faults[csv.path] = error
    return faults


def rows_of_each(csvs: Sequence[AnsweredCsv], target: Target) -> Iterator[bytes]:
    """The rows of files with the same columns in the table, as `rows_to_copy` gives those of one."""
    alike: dict[tuple[str, ...], list[AnsweredCsv]] = defaultdict(list)
    for csv in csvs:
        if csv.blocks is None or csv.skipped:
            yield from rows_to_copy(csv, target)
        else:
            alike[csv.header].append(csv)
    for group in alike.values():
        if is_verbatim(group[0], target):
            yield from chain.from_iterable(verbatim_rows(csv, csv.blocks or ()) for csv in group)
        else:
            yield from _reordered_rows(group, target)


def _reordered_rows(csvs: Sequence[AnsweredCsv], target: Target) -> Iterator[bytes]:
    blocks = [block for csv in csvs for block in csv.blocks or ()]
    text = b"".join(block.text for block in blocks)
    try:
        frame = parse(text, sum(block.ends.size for block in blocks), csvs[0].header)
    except pl.exceptions.PolarsError:
        # One of them is not UTF-8; each by itself says which.
        yield from chain.from_iterable(rows_to_copy(csv, target) for csv in csvs)
        return
    files = pl.Series([csv.origin.file for csv in csvs for _ in range(csv.rows)], dtype=pl.String)
    first_rows = (range(csv.origin.first_row, csv.origin.first_row + csv.rows) for csv in csvs)
    yield from reordered_rows(frame, files, pl.Series(chain.from_iterable(first_rows), dtype=pl.Int64), target)
