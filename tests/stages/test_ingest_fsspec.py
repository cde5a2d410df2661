"""Places that only fsspec knows: what cannot be listed, and what is named like the prefix."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from stages import ingest
from stages.common.names import is_table
from stages.ingesting.fsspecs import FsspecSource

CONTENT = b"question,context\nWho?,Mara\n"


class Share(MemoryFileSystem):  # type: ignore[misc]
    """A share of which some folders may not be listed; as in an object store, a file may be a folder too."""

    protocol = "share"
    store: dict[str, object] = {}  # noqa: RUF012 - the base class has it so
    pseudo_dirs = [""]  # noqa: RUF012
    closed: set[str] = set()  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = MemoryFileSystem._strip_protocol(path.replace("share://", "memory://"))
        return stripped

    def ls(self, path: str, detail: bool = True, **options: object) -> list[object]:
        path = self._strip_protocol(path)
        if path in self.closed:
            raise PermissionError(13, "Permission denied", path)
        below = path.rstrip("/") + "/"
        if path in self.store and any(name.startswith(below) for name in self.store):
            marker = self.store.pop(path)
            try:
                return [*super().ls(path, detail=detail, **options)]
            finally:
                self.store[path] = marker
        return [*super().ls(path, detail=detail, **options)]


@pytest.fixture
def share() -> Iterator[Share]:
    fsspec.register_implementation("share", Share, clobber=True)
    share = Share()
    yield share
    share.store.clear()
    share.closed.clear()


def run(url: str, output: Path) -> int:
    return ingest.main([url, str(output)])


def test_a_prefix_that_cannot_be_listed_in_full_fails(
    share: Share, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fsspec's own `find` takes it for empty, and what came from it would be removed."""
    share.pipe({"/in/a.csv": CONTENT, "/in/sub/b.csv": CONTENT})
    assert run("share://in", tmp_path) == 0
    share.closed.add("/in/sub")
    assert run("share://in", tmp_path) == 1
    assert "it could not be listed in full" in capsys.readouterr().err
    assert (tmp_path / "sub/b.csv").read_bytes() == CONTENT


def test_an_object_named_like_the_prefix_hides_nothing(share: Share) -> None:
    share.pipe({"/in/a.csv": CONTENT})
    share.store["/in"] = share.store["/in/a.csv"]
    assert list(FsspecSource("share://in").list(is_table).objects) == ["a.csv"]


def test_one_file_is_a_url_too(share: Share, tmp_path: Path) -> None:
    share.pipe({"/in/a.txt": CONTENT})
    assert run("share://in/a.txt", tmp_path) == 0
    assert (tmp_path / "a.txt.csv").read_bytes() == CONTENT
    assert run("share://in/b.csv", tmp_path) == 1
