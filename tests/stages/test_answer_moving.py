"""`answer` while somebody works in INPUT and OUTPUT: what is noted as done is what was read and written."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from stages.answer import answer
from stages.answering.mirrored import MirroredRun
from stages.answering.options import arguments
from stages.answering.stream import File
from stages.common.mirror import Mirror
from tests.stages.test_answer_mirror import write

OLD, NEW = ("Who called?", "Ada called Lucy at noon."), ("Who wrote?", "Bob wrote to Lucy at noon.")


def point(link: Path, target: Path) -> None:
    """As a tool does that switches to another version: in one step."""
    other = link.with_name("other")
    other.symlink_to(target)
    other.replace(link)


@pytest.mark.parametrize("limit", [(), ("--limit", "1")])
def test_a_file_that_was_another_while_it_was_read(
    tmp_path: Path, int8_bundle: Path, limit: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what it was again at the end, so that looking at it before and behind shows nothing."""
    write(tmp_path / "old.csv", [OLD, OLD])
    write(tmp_path / "new.csv", [NEW, NEW])
    (tmp_path / "in").mkdir()
    link, out = tmp_path / "in/a.csv", tmp_path / "out"
    point(link, tmp_path / "old.csv")
    options = arguments([str(tmp_path / "in"), str(out), "--model", str(int8_bundle), "--threads", "1", *limit])
    intend, mark_whole = Mirror.intend, MirroredRun._mark_whole

    def switch(self: Mirror, paths: Iterable[str]) -> None:
        intend(self, paths)
        point(link, tmp_path / "new.csv")

    def switch_back(self: MirroredRun, file: File, digest: str) -> None:
        point(link, tmp_path / "old.csv")
        mark_whole(self, file, digest)

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "intend", switch)
        patched.setattr(MirroredRun, "_mark_whole", switch_back)
        assert answer(options) == 0
    assert "Bob" in (out / "a.csv").read_text()
    assert answer(options) == 0
    assert "Ada" in (out / "a.csv").read_text()
    before = (out / "a.csv").stat().st_ino
    assert answer(options) == 0
    assert (out / "a.csv").stat().st_ino == before


def test_answers_taken_away_at_once_disturb_no_other_file(
    tmp_path: Path, int8_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody moves on each file as soon as it is there."""
    for name in ("a", "b", "c"):
        write(tmp_path / f"in/{name}.csv", [OLD])
    out, taken = tmp_path / "out", tmp_path / "taken"
    taken.mkdir()
    options = arguments([str(tmp_path / "in"), str(out), "--model", str(int8_bundle), "--threads", "1"])
    mark_whole = MirroredRun._mark_whole

    def take(self: MirroredRun, file: File, digest: str) -> None:
        file.target.rename(taken / file.name)
        mark_whole(self, file, digest)

    with monkeypatch.context() as patched:
        patched.setattr(MirroredRun, "_mark_whole", take)
        assert answer(options) == 0
    assert sorted(path.name for path in taken.iterdir()) == ["a.csv", "b.csv", "c.csv"]
    assert answer(options) == 0
    assert (out / "a.csv").read_bytes() == (taken / "a.csv").read_bytes()
