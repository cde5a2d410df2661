"""Globs, against the cases that Pachyderm's own tests and documentation give."""

import pytest

from pachyderm.errors import PachydermError
from pachyderm.spec.globs import matches

DIRS = [f"/dir{i}/file{i}.{j}" for i in (1, 2) for j in (1, 2)]
NESTED = [f"{folder}/file{i}" for folder in ("", "/dir1", "/dir2/dir3") for i in range(100)]
NUMBERS = [f"/{i}" for i in range(100)]
SQUARE = [f"/dir{i}/file{j}" for i in range(3) for j in range(3)]
FOO = [f"/foo{i}" for i in range(50)]
DOCS = [
    "/test1.txt",
    "/foo-1/test2.txt",
    "/foo-2/foo-2_1/test3.txt",
    "/foo-2/foo-2_1/anothertest.txt",
    "/foo-2/foo-2_1/nope3.txt",
]
CSVS = ["/a.csv", "/b.csv", "/b/c.csv"]


def matched(glob: str, files: list[str]) -> list[str]:
    return [path for path, _ in matches(glob, files)]


@pytest.mark.parametrize(
    ("files", "glob", "expected"),
    [
        (DIRS, "**.2", ["/dir1/file1.2", "/dir2/file2.2"]),
        (DIRS, "/dir1/*", ["/dir1/file1.1", "/dir1/file1.2"]),
        (DIRS, "/*", ["/dir1/", "/dir2/"]),
        (DIRS, "/", ["/"]),
        (DIRS, "", ["/"]),
        (SQUARE, "**", sorted([*SQUARE, "/dir0/", "/dir1/", "/dir2/"])),
        (FOO, "/foo?1", ["/foo11", "/foo21", "/foo31", "/foo41"]),
        (FOO, "/foo*2", ["/foo12", "/foo2", "/foo22", "/foo32", "/foo42"]),
        (NUMBERS, "/1*", sorted(["/1", *(f"/1{i}" for i in range(10))])),
        (DOCS, "/**test*.txt", sorted(path for path in DOCS if "test" in path)),
        (CSVS, "/*.csv", ["/a.csv", "/b.csv"]),
        (CSVS, "/**.csv", ["/a.csv", "/b.csv", "/b/c.csv"]),
        (["/a.CSV", "/b/c.Csv", "/d.txt"], "/**.[cC][sS][vV]", ["/a.CSV", "/b/c.Csv"]),
        (["/d/x", "/d.txt"], "/*", ["/d.txt", "/d/"]),
        (["/.hidden", "/a"], "/*", ["/.hidden", "/a"]),
        (["/A", "/a"], "/a", ["/a"]),
        (["/a", "/b", "/c"], "/[!a]", ["/b", "/c"]),
        (["/a", "/b", "/c"], "/[^a]", ["/b", "/c"]),
        (["/a", "/b", "/c"], "/[a-b]", ["/a", "/b"]),
        (["/a", "/1"], "/[[:alpha:]]", ["/a"]),
        (["/a.csv", "/a.txt", "/a.md"], "/a.{csv,txt}", ["/a.csv", "/a.txt"]),
        (["/aa", "/ab"], "/+(a)", ["/aa"]),
        (["/ab", "/b", "/cb"], "/?(a)b", ["/ab", "/b"]),
        (["/ab", "/cb"], "/@(a|c)b", ["/ab", "/cb"]),
        (["/a+b", "/aab"], "/a+b", ["/a+b"]),
        (["/a*", "/ab"], "/a\\*", ["/a*"]),
        (["/a.b", "/axb"], "/a.b", ["/a.b"]),
        (["/x]y"], "/x]y", ["/x]y"]),
        (["/]", "/a", "/b"], "/[]a]", ["/]", "/a"]),
        (["/]", "/a", "/b"], "/[!]a]", ["/b"]),
        ([], "/", []),
        ([], "/*", []),
    ],
)
def test_globs_match_what_pachyderms_match(files: list[str], glob: str, expected: list[str]) -> None:
    assert matched(glob, files) == expected


@pytest.mark.parametrize(
    ("glob", "count"), [("*", 102), ("file*", 100), ("dir1/*", 100), ("dir2/dir3/*", 100), ("*/*", 101)]
)
def test_folders_that_files_imply_are_counted(glob: str, count: int) -> None:
    assert len(matched(glob, NESTED)) == count


def test_a_slash_at_the_end_changes_nothing() -> None:
    assert matches("/(*)/", SQUARE) == matches("/(*)", SQUARE)


def test_groups_capture() -> None:
    assert matches("/foo(?)(?)", FOO)[:2] == [("/foo10", ("1", "0")), ("/foo11", ("1", "1"))]


@pytest.mark.parametrize(
    "glob", ["!(**)", "/^(a)", "/[", "/[]", "/(a", "/{a", "/a)", "/a}", "/a\\", "/[[:no:]]", "/[b-a]"]
)
def test_what_is_no_glob_or_not_done_here_is_refused_by_name(glob: str) -> None:
    with pytest.raises(PachydermError, match="glob"):
        matches(glob, FOO)
