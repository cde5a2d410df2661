"""Where objects go: paths that every file system downstream can hold, no two alike."""

import itertools
import random
import re
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.common.names import (
    Origin,
    is_table,
    note_path,
    origin_of,
    part_path,
    path_end,
    rejection_path,
    subject,
    target_path,
)

# What Pachyderm takes: printable ASCII without glob characters.
HOLDS = re.compile(r"[ -~]+")
PIECES = ["a", "A", ".csv", ".CSV", ".gz", "/", ".", "%", "%2E", "é", "*", ".parts", ".json", "rejected", "x" * 240]
NAMES = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=6).map("".join)
OBJECTS = st.builds(str.__add__, NAMES, st.sampled_from([".csv", ".CSV", ".csv.gz", ".csv.csv", ".csv.CSV"]))


def places(name: str) -> list[str]:
    return [target_path(name), part_path(name, 5001), rejection_path(name)]


@given(OBJECTS, OBJECTS)
@example("a.csv", "a//a.csv")
@example(".csv", ".csv.csv")
@example("a.csv.gz", "a.csv.gz.csv")
@example("a.csv", "a.csv/part-00000.csv")
@example("a.csv", "a.csv.parts/row-0000005001.csv")
def test_two_objects_never_share_a_path(one: str, other: str) -> None:
    """Nor is the path of one the folder of another."""
    if one == other:
        return
    for first, second in itertools.product(places(one), places(other)):
        assert first != second
        assert first not in map(str, PurePosixPath(second).parents)
        assert second not in map(str, PurePosixPath(first).parents)


@pytest.mark.faults
def test_two_hundred_thousand_names_never_meet() -> None:
    """Names made of the pieces that matter, exhaustively up to four, and at random beyond."""
    pieces = ["a", ".csv", ".CSV", ".gz", ".parquet", ".zip", "/", ".", "%", "\n", "é", "~", ".parts", "row-0000000002"]
    short = ("".join(parts) for count in range(1, 5) for parts in itertools.product(pieces, repeat=count))
    chance = random.Random(1)
    long = (
        "".join(chance.choices([*pieces, "x" * 200, "rejected", ".json"], k=chance.randrange(5, 9)))
        for _ in range(400_000)
    )
    names: set[str] = set()
    for name in itertools.chain(short, long):
        names.update(name + suffix for suffix in ("", ".csv") if is_table(name + suffix))
        if len(names) >= 200_000:
            break
    assert len(names) >= 200_000
    owners: dict[str, str] = {}
    for name in names:
        for path in places(name):
            assert owners.setdefault(path, name) == name, (path, name, owners[path])
        assert origin_of(part_path(name, 5001)) == Origin(name, 5001)
    for path, name in owners.items():
        for folder in PurePosixPath(path).parents:
            assert str(folder) not in owners, (path, name, owners.get(str(folder)))


@given(OBJECTS)
def test_pachyderm_holds_every_path(name: str) -> None:
    """Its glob matches that file alone."""
    for place in places(name):
        segments = place.split("/")
        assert HOLDS.fullmatch(place) and not set(place) & set("*?[]{}!()@+^\\")
        assert all(segment and not segment.startswith(".") and len(segment) <= 255 for segment in segments)
        assert not any(segment.endswith(".csv") for segment in segments[:-1])
    assert target_path(name).endswith(".csv")
    assert not target_path(name).startswith("rejected/")


def test_plain_names_stay_as_they_are() -> None:
    for name in ("a.csv", "two words.csv", "a/b-c_d/2024 #1.csv", "a.csv.csv"):
        assert target_path(name) == name
    assert target_path("a.csv.gz") == "a.csv.gz.csv"
    assert target_path("é/x*.csv") == "%C3%A9/x%2A.csv"


@given(OBJECTS, st.integers(1, 10**12))
@example("a.csv.parts/row-0000000002.csv", 1)
@example("a" * 500 + ".csv", 7)
def test_the_owner_s_name_and_row_can_be_read_off_the_path(name: str, first_row: int) -> None:
    assert origin_of(part_path(name, first_row)) == Origin(name, first_row)


@pytest.mark.parametrize("path", ["a%20b.csv", "100%.csv", "a%zz.csv", "x.csv.parts/part-00000.csv", ".hidden.csv"])
def test_a_path_that_ingest_never_writes_is_a_name_of_its_own(path: str) -> None:
    assert origin_of(path) == Origin(path, 1)


def test_a_name_that_goes_on_behind_its_suffix_is_no_csv() -> None:
    assert is_table("a.csv") and is_table("a.CSV.gz")
    assert not is_table("a.csv\n")


@given(OBJECTS, st.sampled_from([1, 2, 5001, 10**11]))
@example("é" * 300 + ".csv", 5001)
def test_the_end_of_a_path_names_the_same_part(name: str, first_row: int) -> None:
    """A part that is given alone, by its path, belongs to the same file and row as in its folder."""
    path = PurePosixPath("/data/out") / part_path(name.rpartition("/")[2], first_row)
    assert path_end(path) == part_path(name.rpartition("/")[2], first_row)


SEGMENTS = st.lists(st.sampled_from([*"aé東😀-%/.", "%-", "x" * 60, "é" * 60, ".json"]), min_size=1, max_size=12)


@given(SEGMENTS.map("".join), SEGMENTS.map("".join))
@example("n" * 251, "n" * 250)
@example("é" * 125, "😀" * 62)
def test_a_note_about_any_file_has_a_path_of_its_own(one: str, other: str) -> None:
    """Of a name of 255 bytes too, which `.json` makes too long; and it says which file it is about."""
    names = [f"{text.strip('/')}.csv" for text in (one, other)]
    names = [name for name in names if all(0 < len(part.encode()) <= 255 for part in name.split("/"))]
    for name in names:
        assert all(len(part.encode()) <= 255 for part in note_path(name).split("/"))
        assert subject(note_path(name)) == name
