"""Datums: which there are, what they are called, when they are the same."""

from pathlib import Path
from typing import Any

import pytest

from pachyderm.local.datums import Datum, cut_into_sets, datums
from pachyderm.local.store.files import File
from pachyderm.local.store.repos import Commit
from pachyderm.spec.reading import Pipeline, parse_pipeline

FOO = [f"/foo{i}" for i in range(50)]


def commit(files: dict[str, str], repo: str = "repo") -> Commit:
    return Commit(repo, 1, "c" * 32, Path("/nowhere"), {path: File(text, len(text)) for path, text in files.items()})


def of(input_: dict[str, Any], **fields: Any) -> Pipeline:
    return parse_pipeline({"pipeline": {"name": "p"}, "transform": {"cmd": ["x"]}, "input": input_, **fields})


def pfs(glob: str, name: str = "in", **fields: Any) -> dict[str, Any]:
    return {"pfs": {"name": name, "repo": "repo", "glob": glob, **fields}}


def found(input_: dict[str, Any], files: list[str] | dict[str, str], salt: str = "") -> list[Datum]:
    contents = files if isinstance(files, dict) else dict.fromkeys(files, "")
    return datums(of(input_), {"repo": commit(contents), "questions": commit(contents, "questions")}, salt)


def labels(input_: dict[str, Any], files: list[str]) -> list[str]:
    return [datum.label for datum in found(input_, files)]


def test_the_id_of_a_datum_is_pachyderms() -> None:
    (datum,) = found({"pfs": {"repo": "questions", "glob": "/*"}}, ["/a.csv"])
    assert datum.id == "06a45d72709dff6260bd3faab8a86839061b13899762752aecc679e66398a8bf"


def test_the_id_is_of_names_and_the_hash_of_contents_and_salt() -> None:
    (before,) = found(pfs("/*"), {"/a": "1"})
    (changed,) = found(pfs("/*"), {"/a": "2"})
    (salted,) = found(pfs("/*"), {"/a": "1"}, salt="other")
    assert before.id == changed.id == salted.id
    assert len({before.hash, changed.hash, salted.hash}) == 3


def test_a_folder_is_the_same_after_a_rename_in_it() -> None:
    """Which is why prune never skips."""
    (before,) = found(pfs("/"), {"/a": "1", "/b": "2"})
    (renamed,) = found(pfs("/"), {"/a": "1", "/c": "2"})
    assert before.hash == renamed.hash


def test_a_reference_input_does_not_count() -> None:
    (before,) = found(pfs("/*", reference=True), {"/a": "1"})
    (changed,) = found(pfs("/*", reference=True), {"/a": "2"})
    assert before.hash == changed.hash


def test_union_holds_a_datum_once() -> None:
    both = labels({"union": [pfs("/foo?1"), pfs("/foo*2"), pfs("/foo11")]}, FOO)
    assert sorted(both) == ["/foo11", "/foo12", "/foo2", "/foo21", "/foo22", "/foo31", "/foo32", "/foo41", "/foo42"]


def test_cross_pairs_all_with_all() -> None:
    pairs = labels({"cross": [pfs("/foo?1", "a"), pfs("/foo*2", "b")]}, FOO)
    assert len(pairs) == 20
    assert pairs[:2] == ["/foo11 /foo12", "/foo11 /foo2"]


def test_cross_with_nothing_is_nothing() -> None:
    assert labels({"cross": [pfs("/foo?1", "a"), pfs("/none", "b")]}, FOO) == []


def test_join_pairs_what_captured_the_same() -> None:
    inputs = [pfs("/foo(?)(?)", "a", joinOn="$1$2"), pfs("/foo(?)(?)", "b", joinOn="${2}${1}")]
    pairs = labels({"join": inputs}, FOO)
    assert len(pairs) == 16
    assert {"/foo11 /foo11", "/foo12 /foo21"} <= set(pairs)


def test_an_outer_join_keeps_what_has_no_partner() -> None:
    left, right = pfs("/l(*)", "a", joinOn="$1", outerJoin=True), pfs("/r(*)", "b", joinOn="$1")
    assert labels({"join": [left, right]}, ["/l1", "/l2", "/r2", "/r3"]) == ["/l1", "/l2 /r2"]


def test_group_gathers_what_captured_the_same() -> None:
    groups = found({"group": [pfs("/foo(?)(?)", groupBy="$1")]}, FOO)
    assert [len(datum.inputs) for datum in groups] == [10, 10, 10, 10]


@pytest.mark.parametrize(
    ("spec", "workers", "sizes"),
    [
        (None, 2, [1] * 10),
        ({"perWorker": 1}, 2, [5, 5]),
        ({"perWorker": 1}, 3, [3, 3, 3, 1]),
        ({"perWorker": 1}, 20, [1] * 10),
        ({"number": 4}, 2, [4, 4, 2]),
        ({"sizeBytes": 30}, 2, [3, 3, 3, 1]),
    ],
)
def test_sets(spec: dict[str, int] | None, workers: int, sizes: list[int]) -> None:
    fields = {"datumSetSpec": spec} if spec else {}
    work = found(pfs("/*"), {f"/{i}": "x" * 10 for i in range(10)})
    sets = cut_into_sets(work, of(pfs("/*"), **fields), workers)
    assert [len(one) for one in sets] == sizes
    assert [datum for one in sets for datum in one] == work
