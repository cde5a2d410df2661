import csv
import hashlib
import io
import os
import threading
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runtime.errors import InputError
from stages.csvs import parsing, reader, regular
from stages.csvs.reader import Reader, read_frames
from stages.csvs.records import Records
from stages.csvs.regular import IrregularError, whole_records, whole_records_of_each

QUOTE = '"'
SOUP = st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r\n", b"\r", b'""', b"\0", b"\xff", "é".encode(), b" "]))


def accepted(path: Path) -> list[list[str]] | None:
    """The rows as the rules of `records` and Python's csv give them; None where a rule is broken."""
    with path.open("rb") as stream:
        try:
            text = b"".join(Records(stream, ())).decode()
        except InputError:
            return None
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def piped(content: bytes) -> io.BufferedReader:
    """A pipe that holds the content and has no writer any more."""
    source, target = os.pipe()
    os.write(target, content)
    os.close(target)
    return open(source, "rb")  # noqa: PTH123 - the caller closes it


@given(
    st.lists(SOUP, max_size=12), st.integers(1, 40), st.booleans(), st.sampled_from([1, 2, 5, 4 << 20]), st.booleans()
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_block_is_read_as_its_records_are_one_by_one(
    tmp_path: Path, lines: list[list[bytes]], block: int, is_pipe: bool, piece: int, may_be_small: bool
) -> None:
    """However few of its bytes are looked at together, and whether or not it counts as a small file."""
    path = tmp_path / "a.csv"
    text = b"x,y\n" + b"".join(b"".join(line) + b"\n" for line in lines)[:-1]
    # Python's csv swallows any number of carriage returns before a line feed; polars keeps all but one.
    assume(b"\r\r" not in text)
    path.write_bytes(text)
    expected = accepted(path)
    rows: list[list[str]] = []
    sliced = mock.patch.object(regular, "_SLICE_BYTES", piece)
    small = mock.patch.object(reader, "SMALL_BYTES", 1000 if may_be_small else -1)
    with sliced, small, piped(text) if is_pipe else path.open("rb") as stream:
        try:
            for frame, _ in Reader(stream, (), block_bytes=block).frames():
                rows += [["" if value is None else value for value in row] for row in frame.rows()]
        except InputError as error:
            assert expected is None, error
            assert error.row == len(rows) + 1
        else:
            assert rows == expected


@given(st.lists(SOUP.map(lambda parts: b"".join(parts) + b"\n"), max_size=6), st.integers(1, 3))
@settings(max_examples=500, deadline=None)
def test_bodies_together_are_what_each_is_alone(bodies: list[bytes], width: int) -> None:
    """No quote of one is closed by another, and widths do not cancel out between them."""
    try:
        together = whole_records_of_each(bodies, width)
    except IrregularError:
        return
    for body, block in zip(bodies, together, strict=True):
        alone = whole_records(body, width)
        assert (block.size, block.text, block.ends.tolist()) == (len(body), alone.text, alone.ends.tolist())


@given(st.lists(st.lists(st.text('ab ,"\n\r\ufeff\u2028é'), min_size=2, max_size=2), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_small_records_are_parsed_as_polars_parses_them(rows: list[list[str]]) -> None:
    """A missing value and a quoted empty one stay two things."""
    text = "".join(
        ",".join(f'"{value.replace(QUOTE, QUOTE * 2)}"' if value else "" for value in row) + "\n" for row in rows
    )
    assume(text.strip("\n"))
    small = parsing.parse(text.encode(), len(rows), ["x", "y"])
    with mock.patch.object(parsing, "SMALL_BYTES", -1):
        assert small.equals(parsing.parse(text.encode(), len(rows), ["x", "y"]))


@pytest.mark.parametrize("size", [1, parsing.SMALL_BYTES])
def test_a_quoted_empty_value_is_not_a_missing_one(tmp_path: Path, size: int) -> None:
    """In a small file and in a larger one."""
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + ',""\n' * size)
    with path.open("rb") as stream:
        rows = {row for frame, _ in Reader(stream, ()).frames() for row in frame.rows()}
    assert rows == {(None, "")}


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        (b"x,y\n1,2\n3\n4,5\n", 2, "1 fields where the header has 2"),
        (b"x,y\n1,2\n3,4,5\n4,5\n", 2, "3 fields where the header has 2"),
        (b"x,y\n1,2\n3\n4,5,6\n", 2, "1 fields where the header has 2"),
        (b'x,y\n1,2\n3,"4\n5,6\n', 2, "a quote that opens in this row never closes"),
        (b"x,y\n1,2\n\xff,4\n", 2, "not UTF-8 at byte offset 8"),
        (b"x,y\n1,2\n3,4\0\n", 2, "a NUL byte at offset 11"),
        (b"x,y\n1,2\r3,4\n", 1, "a carriage return outside quotes"),
    ],
)
def test_a_broken_rule_is_named_with_its_row(tmp_path: Path, text: bytes, row: int, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    with path.open("rb") as stream, pytest.raises(InputError) as caught:
        list(Reader(stream, ()).frames())
    assert (caught.value.row, caught.value.reason) == (row, reason)


def test_what_records_mends_is_read_as_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'x,y\r\n1,"a"\r\n2,5" pipe\r\n3,"b\r\nc"\r\n')
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        text = b"".join(block.text for block in Reader(stream, (), digest, 12).blocks())
    assert list(csv.reader(io.StringIO(text.decode(), newline=""))) == [["1", "a"], ["2", '5" pipe'], ["3", "b\r\nc"]]
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_value_larger_than_a_block_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "line,\n" * 1000
    path.write_text(f'x,y\n1,"{long}"\n2,b\n')
    with path.open("rb") as stream:
        rows = [row for frame, _ in Reader(stream, (), block_bytes=64).frames() for row in frame.rows()]
    assert rows == [("1", long), ("2", "b")]


def test_a_long_value_comes_whole_out_of_a_pipe() -> None:
    """It is longer than what a pipe gives at a time, and than a block."""
    long = "line,\n" * 100_000
    source, target = os.pipe()
    writer = threading.Thread(target=write_all, args=(target, f'x,y\n1,"{long}"\n2,b\n'.encode()))
    writer.start()
    with open(source, "rb") as stream:  # noqa: PTH123 - of a descriptor
        rows = [row for frame, _ in Reader(stream, (), block_bytes=1000).frames() for row in frame.rows()]
    writer.join()
    assert rows == [("1", long), ("2", "b")]


def write_all(descriptor: int, content: bytes) -> None:
    with open(descriptor, "wb") as stream:
        stream.write(content)


def test_rows_are_given_before_the_next_ones_are_written() -> None:
    """Whoever feeds a pipe may wait for the answer to a row before asking the next."""
    source, target = os.pipe()
    with open(source, "rb") as stream, open(target, "wb", buffering=0) as writer:  # noqa: PTH123 - of descriptors
        writer.write(b"x,y\n1,a\n2,b\n3,")
        frames = Reader(stream, ()).frames()
        assert next(frames)[0].rows() == [("1", "a"), ("2", "b")]
        writer.write(b"c\n")
        assert next(frames)[0].rows() == [("3", "c")]


@pytest.mark.parametrize(
    "content",
    [
        b"x,y\n1,2\n3,4\n5,6",
        b"\xef\xbb\xbfx,y\r\n1,2\r\n\r\n\n3,4\r\n5,6\r\n7,8\r\n",
        b'\n\nx,y\n1,"2\n"\n3,4\n\n5,6\n',
        b"x,y\n",
    ],
)
def test_the_sizes_of_all_rows_are_that_of_the_file(tmp_path: Path, content: bytes) -> None:
    """A progress bar over bytes ends where the file does."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    frames = list(read_frames(path, (), 2))
    assert sum(size for _, size in frames) == len(content)
    assert all(frame.height <= 2 for frame, _ in frames)
