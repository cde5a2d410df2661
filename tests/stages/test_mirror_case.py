"""A file system that takes `A.csv` and `a.csv` for one file, as those of macOS and Windows do.

None is at hand in Linux without a kernel for it: what tells them apart is taken from the mirror here.
"""

from pathlib import Path

import pytest

from runtime.errors import AnswermillError
from stages.common.mirror import Mirror, open_mirror


@pytest.fixture(params=[True, False])
def ignores_case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        monkeypatch.setattr(Mirror, "_ignores_case", True)
    return bool(request.param)


@pytest.mark.parametrize(
    "names", [("a.csv", "A.csv"), ("D/a.csv", "d/a.csv"), ("\u00e9.csv", "e\u0301.csv"), ("\u00df.csv", "SS.csv")]
)
def test_two_names_of_one_file_are_refused(tmp_path: Path, names: tuple[str, str], ignores_case: bool) -> None:
    """The rows of one would be written over those of the other, and be passed on under both names."""
    with open_mirror(tmp_path / "out", "answer") as mirror:
        if not ignores_case:
            mirror.take_from("in", {*names, "b.csv"})
            return
        with pytest.raises(AnswermillError, match="would be one file there; choose an OUTPUT on a file system"):
            mirror.take_from("in", {*names, "b.csv"})
        mirror.take_from("in", {names[0], "b.csv"})


def test_a_file_of_another_case_outlives_its_former_name(tmp_path: Path, ignores_case: bool) -> None:
    """After `a.csv` was renamed to `A.csv` in INPUT, removing the former removed the latter."""
    out = tmp_path / "out"
    with open_mirror(out, "answer") as mirror:
        mirror.intend(["a.csv", "b.csv"])
        for name in ("a.csv", "b.csv"):
            (out / name).touch()
        assert mirror.settle({"A.csv"}) == ["b.csv", "a.csv"]
    assert {path.name for path in out.glob("*.csv")} == ({"a.csv"} if ignores_case else set())


def test_this_file_system_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    with open_mirror(tmp_path / "out", "answer") as mirror:
        assert mirror._ignores_case == (tmp_path / "PROBE").exists()
