"""What ingest lets through, byte for byte, and what it refuses, with row and reason."""

import csv
import gzip
import io
import json
import os
import shutil
from pathlib import Path

import fsspec
import polars as pl
import pytest

from stages import ingest
from stages.csvs.records import LONGEST
from stages.ingesting.options import arguments
from stages.ingesting.parquet import _rows_at_a_time
from tests.conftest import Stage

HEADER = b"question,context\n"
# What ingest keeps for itself and for later stages.
OWN = {".ingest.listing", "listing.json"}


def run(source: Path, output: Path, *options: object) -> int:
    return ingest.ingest(arguments([str(source), str(output), *map(str, options)]))


def through(tmp_path: Path, content: bytes, *options: object, name: str = "a.csv") -> bytes | dict[str, object]:
    """What becomes of one CSV: its bytes, or the note of its rejection."""
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir(exist_ok=True)
    (source / name).write_bytes(content)
    assert run(source, output, *options) == 0
    (found,) = (path for path in output.rglob("*") if path.is_file() and path.name not in OWN)
    if found.suffix == ".json":
        note: dict[str, object] = json.loads(found.read_bytes())
        assert note["object"] == name and note["remedy"]
        return note
    return found.read_bytes()


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


ACCEPTED = {
    "plain": b"question,context\na,b\n",
    "CRLF": b"question,context\r\na,b\r\n",
    "quoted newlines": b'question,context\n"a\nb","c\r\nd"\n',
    "doubled quotes": b'question,context\n"say ""hi""","a """"b"""\n',
    "a header only": b"question,context\n",
    "a long context": b"question,context\na," + b"word " * 20_000 + b"\n",
    "columns in any order": b"id,context,x,question\n1,b,,a\n",
    "a thousand columns": b",".join([b"question", b"context", *(b"c%d" % i for i in range(998))])
    + b"\n"
    + b",".join([b"v"] * 1000)
    + b"\n",
    "an unnamed column": b",question,context\n0,a,b\n",
    "empty and missing": b'question,context,x\n"",,\n,"",""\n',
    "spaces": b"question,context\n a , b \n",
    "other scripts": "question,context\n何,答え 😀 \u2028\x85\n".encode(),
    "values that look like others": b"question,context\n007,1e5\nNULL,\\N\ntrue,\\.\n",
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_exports_hold_is_accepted_byte_for_byte(tmp_path: Path, kind: str) -> None:
    assert through(tmp_path, ACCEPTED[kind]) == ACCEPTED[kind]


CHANGED = {
    "a BOM": (b"\xef\xbb\xbfquestion,context\na,b\n", b"question,context\na,b\n"),
    "two BOMs": (b"\xef\xbb\xbf\xef\xbb\xbfquestion,context\na,b\n", b"question,context\na,b\n"),
    "a BOM that is text": (
        b"question,context\n\xef\xbb\xbfa,b\n",
        b"question,context\n\xef\xbb\xbfa,b\n",
    ),
    "no newline at the end": (b"question,context\na,b", b"question,context\na,b\n"),
    "no newline at the end of CRLF": (b"question,context\r\na,b", b"question,context\r\na,b\r\n"),
    "blank lines": (b"\n\nquestion,context\n\na,b\r\n\n", b"question,context\na,b\r\n"),
    "CRLF written twice": (b"question,context\r\r\na,b\r\r\n", b"question,context\r\na,b\r\n"),
    "quotes in an unquoted field": (
        b'question,context\n5" pipe, "b" \n',
        b'question,context\n"5"" pipe"," ""b"" "\n',
    ),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_what_is_written_reads_alike_everywhere(tmp_path: Path, kind: str) -> None:
    """What readers would read differently is written so that they agree."""
    before, after = CHANGED[kind]
    assert through(tmp_path, before) == after
    text = before.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xef\xbb\xbf").replace(b"\r\r\n", b"\r\n")
    assert rows(after) == [row for row in rows(text) if row]


REFUSED: dict[str, tuple[bytes, int | None, str | None, str]] = {
    "not UTF-8": (HEADER + b"a,b\ncaf\xe9,d\n", 2, None, "not UTF-8 at byte offset 24"),
    "cut in a character": (HEADER + b"a,\xc3", 1, None, "not UTF-8 at byte offset 19"),
    "too many fields": (HEADER + b"a,b\na,b,c\n", 2, None, "3 fields where the header has 2"),
    "too few fields": (HEADER + b"a,b\na\n", 2, None, "1 fields where the header has 2"),
    "a column twice": (b"question,context,question\n", 0, "question", "the header names it twice"),
    "no context": (b"question,passage\n", 0, "context", 'no such column among "question", "passage"'),
    "NUL": (HEADER + b"a,b\0c\n", 1, None, "a NUL byte at offset 20"),
    "an unclosed quote": (
        HEADER + b'a,b\n"c,d\ne,f\n',
        2,
        None,
        "a quote that opens in this row never closes",
    ),
    "text after a quote": (HEADER + b'"a"b,c\n', 1, None, "text after a closing quote"),
    "CR alone": (HEADER + b"a\rb,c\n", 1, None, "a carriage return outside quotes"),
    "nothing": (b"", None, None, "no header: the file is empty"),
    "half a zip": (b"PK\x03\x04" + bytes(30), None, None, "a damaged zip archive: File is not a zip file"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(30), None, None, "an old Excel or Word file, not a CSV"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_trusted_is_refused_with_row_and_reason(tmp_path: Path, kind: str) -> None:
    content, row, column, reason = REFUSED[kind]
    note = through(tmp_path, content)
    assert isinstance(note, dict)
    assert (note["row"], note["column"], note["reason"]) == (row, column, reason)


def test_a_row_without_end_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    note = through(tmp_path, HEADER + b'a,b\n"' + (b"x" * 1023 + b"\n") * (LONGEST >> 10))
    assert isinstance(note, dict)
    assert (note["row"], note["reason"]) == (2, "more than 64 MiB in one row; perhaps a quote never closes")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "shift-jis"])
def test_another_encoding_is_read_where_it_is_named(tmp_path: Path, encoding: str) -> None:
    words = "何,答え" if encoding == "shift-jis" else "café?,Zürich\r\n"
    text = f"question,context\n{words}\n"
    assert through(tmp_path, text.encode(encoding), "--encoding", encoding) == text.replace("\r\n\n", "\r\n").encode()


def test_an_encoding_is_for_the_files_that_are_not_utf8(tmp_path: Path) -> None:
    text = "question,context\ncafé?,b\n".encode()
    assert through(tmp_path, text, "--encoding", "latin-1") == text


def test_a_wrong_encoding_is_refused_with_the_offset(tmp_path: Path) -> None:
    note = through(tmp_path, HEADER + b"a,\x81\n", "--encoding", "cp1252")
    assert isinstance(note, dict)
    assert note["reason"] == "not cp1252 at byte offset 19"


def test_an_unknown_encoding_is_a_mistake_of_usage(stage: Stage, tmp_path: Path) -> None:
    done = stage("ingest", tmp_path, tmp_path / "out", "--encoding", "hex")
    assert done.returncode == 2
    assert "Python knows no text encoding 'hex'" in done.stderr


def test_gzipped_csvs_are_inflated_and_damaged_ones_refused(tmp_path: Path) -> None:
    content = HEADER + b"a,b\n" * 5000
    archive = gzip.compress(content)
    assert through(tmp_path, archive, name="a.csv.gz") == content
    shutil.rmtree(tmp_path / "out")
    note = through(tmp_path, archive[:-9], name="a.csv.gz")
    assert isinstance(note, dict)
    reason = "a damaged gzip archive: Compressed file ended before the end-of-stream marker was reached"
    assert note["reason"] == reason


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OWN
    }


def test_appended_rows_change_only_the_last_part(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    # Without a line end, as an editor may leave it.
    content = HEADER + b"\n".join(b"%d?,c" % row for row in range(25))
    (source / "a.csv").write_bytes(content)
    assert run(source, output, "--shard-rows", 10) == 0
    before = tree(output)
    assert [part.count(b"\n") - 1 for part in before.values()] == [10, 10, 5] or len(before) == 3
    (source / "a.csv").write_bytes(content + b"\n" + b"".join(b"%d?,c\n" % row for row in range(25, 42)))
    assert run(source, output, "--shard-rows", 10) == 0
    after = tree(output)
    assert sorted(after) == ["a.csv", *(f"a.csv.parts/row-{row:010d}.csv" for row in (11, 21, 31, 41))]
    assert [name for name in sorted(before) if before[name] != after[name]] == ["a.csv.parts/row-0000000021.csv"]
    assert b"".join(after[name].removeprefix(HEADER) for name in sorted(after)).count(b"\n") == 42


@pytest.mark.parametrize(("count", "parts"), [(9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_a_file_is_cut_where_it_has_more_rows_than_a_part(tmp_path: Path, count: int, parts: int) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(HEADER + b"".join(b'"%d\n?",c\n' % row for row in range(count)))
    assert run(source, tmp_path / "out", "--shard-rows", 10) == 0
    found = list((tmp_path / "out").rglob("*.csv"))
    assert len(found) == parts
    every = [row for path in sorted(found) for row in rows(path.read_bytes())[1:]]
    assert every == [[f"{row}\n?", "c"] for row in range(count)]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """What is gone from the input goes from the output."""
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.csv").write_bytes(HEADER + b"q,c\n" * 30)
    (source / "b.csv").write_bytes(HEADER + b"q\n")
    assert run(source, output, "--shard-rows", 10) == 0
    first = tree(output)
    assert run(source, output, "--shard-rows", 10) == 0
    assert tree(output) == first
    (output / "kept.txt").write_text("not ours")
    (source / "a.csv").write_bytes(HEADER + b"q,c\n")
    (source / "b.csv").unlink()
    assert run(source, output, "--shard-rows", 10) == 0
    assert set(tree(output)) == {"a.csv", "kept.txt"}


def test_any_fsspec_url_will_do(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/any/d/a.csv", HEADER + b"a,b\n")
    memory.pipe("/any/readme.txt", b"no")
    options = arguments(["memory://any", str(tmp_path)])
    assert ingest.ingest(options) == 0
    assert (tmp_path / "d/a.csv").read_bytes() == HEADER + b"a,b\n"
    assert len(list(tmp_path.rglob("*.csv"))) == 1


def test_local_names_that_are_not_utf8_come_through(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.csv")).write_bytes(HEADER + b"a,b\n")
    Path(os.fsdecode(os.fsencode(source) + b"/bad\xe9.csv")).write_bytes(b"no\n")
    assert run(source, tmp_path / "out") == 0
    assert set(tree(tmp_path / "out")) == {"caf%E9.csv", "rejected/bad%E9.csv.json"}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b.csv").write_bytes(HEADER)
    (source / "sub/a.csv").write_bytes(HEADER)
    (source / "linked").symlink_to("../other")
    (source / "c.csv").symlink_to("../other/b.csv")
    (source / "d.csv").symlink_to("sub/a.csv")
    (source / "sub/back").symlink_to("..")
    (tmp_path / "top").symlink_to("in")
    assert run(tmp_path / "top", tmp_path / "out", "--follow-links") == 0
    assert set(tree(tmp_path / "out")) == {"sub/a.csv", "linked/b.csv", "c.csv", "d.csv"}
    assert run(tmp_path / "top", tmp_path / "out") == 0
    refused = {"rejected/linked/%2F.csv.json", "rejected/c.csv.json"}
    assert set(tree(tmp_path / "out")) == {"sub/a.csv", "d.csv", *refused}


@pytest.mark.parametrize("output", [".", "deeper/out", "../in"])
def test_a_stage_does_not_write_into_its_own_input(stage: Stage, tmp_path: Path, output: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.csv").write_bytes(HEADER + b"a,b\n")
    for name in ("ingest", "answer"):
        done = stage(name, source, source / output)
        assert done.returncode == 1
        assert done.stderr.endswith(f"lies in INPUT ({source}); choose a folder outside of it\n")
    assert tree(source) == {"a.csv": HEADER + b"a,b\n"}


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "value",
    [LONG, [LONG], [["a", LONG], None], {"a": LONG, "b": 1}, [{"a": [LONG]}]],
    ids=["text", "list", "lists", "struct", "all"],
)
def test_long_rows_of_parquet_are_written_few_at_a_time(tmp_path: Path, value: object) -> None:
    """A text that many rows share stands in the file once, and 1,400 bytes of Parquet took 830 MB of memory."""
    pl.DataFrame({"n": range(50), "context": [value] * 50}).write_parquet(tmp_path / "a.parquet")
    assert _rows_at_a_time(pl.scan_parquet(tmp_path / "a.parquet")) == 16
    pl.DataFrame({"n": range(50), "context": ["x"] * 50}).write_parquet(tmp_path / "b.parquet")
    assert _rows_at_a_time(pl.scan_parquet(tmp_path / "b.parquet")) == 10_000
