import csv
import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runtime.errors import InputError
from stages.csvs.blocks import scan, scan_blocks
from stages.csvs.records import Records

SOUP = st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r\n", b"\r", b'""', b"\0", b"\xff", "é".encode(), b" "]))


def accepted(path: Path) -> list[list[str]] | None:
    """The rows as the rules of `records` and Python's csv give them; None where a rule is broken."""
    with path.open("rb") as stream:
        try:
            text = b"".join(Records(stream, ())).decode()
        except InputError:
            return None
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@given(st.lists(SOUP, max_size=12), st.integers(1, 40))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_block_is_read_as_its_records_are_one_by_one(tmp_path: Path, lines: list[list[bytes]], block: int) -> None:
    path = tmp_path / "a.csv"
    text = b"x,y\n" + b"".join(b"".join(line) + b"\n" for line in lines)[:-1]
    # Python's csv swallows any number of carriage returns before a line feed; polars keeps all but one.
    assume(b"\r\r" not in text)
    path.write_bytes(text)
    expected = accepted(path)
    stream = path.open("rb")
    try:
        found = [["" if value is None else value for value in row] for f in scan(stream, (), block) for row in f.rows()]
    except InputError as error:
        assert expected is None, error
        assert error.row is not None
    else:
        assert found == expected
    finally:
        stream.close()


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
        list(scan(stream, ()))
    assert (caught.value.row, caught.value.reason) == (row, reason)


def test_what_records_mends_is_read_as_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'x,y\r\n1,"a"\r\n2,5" pipe\r\n3,"b\r\nc"\r\n')
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        text = b"".join(block.text for block in scan_blocks(stream, (), digest, 12))
    assert list(csv.reader(io.StringIO(text.decode(), newline=""))) == [["1", "a"], ["2", '5" pipe'], ["3", "b\r\nc"]]
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_value_larger_than_a_block_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "line,\n" * 1000
    path.write_text(f'x,y\n1,"{long}"\n2,b\n')
    with path.open("rb") as stream:
        rows = [row for frame in scan(stream, (), 64) for row in frame.rows()]
    assert rows == [("1", long), ("2", "b")]
