"""Places that only fsspec knows: what cannot be listed, and what is named like the prefix."""

import io
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from stages import ingest
from stages.common.names import is_table
from stages.ingesting.fsspecs import FsspecSource

CONTENT = b"question,context\nWho?,Mara\n"


class Share(MemoryFileSystem):  # type: ignore[misc]
    """A share of which some folders may not be listed; as in an object store, a file may be a folder too.

    Beside its name, kind and size it says of each file what is in `fields`.
    """

    protocol = "share"
    store: dict[str, object] = {}  # noqa: RUF012 - the base class has it so
    pseudo_dirs = [""]  # noqa: RUF012
    closed: set[str] = set()  # noqa: RUF012
    fields: dict[str, object] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = MemoryFileSystem._strip_protocol(path.replace("share://", "memory://"))
        return stripped

    def ls(self, path: str, detail: bool = True, **options: object) -> list[object]:
        listed = self._listed(path, detail, **options)
        return [{**_without_time(info), **self.fields} if isinstance(info, dict) else info for info in listed]

    def info(self, path: str, **options: object) -> dict[str, object]:
        return {**_without_time(super().info(path, **options)), **self.fields}

    def _listed(self, path: str, detail: bool, **options: object) -> list[object]:
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


def _without_time(info: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in info.items() if name != "created"}


@pytest.fixture
def share() -> Iterator[Share]:
    fsspec.register_implementation("share", Share, clobber=True)
    share = Share()
    yield share
    share.store.clear()
    share.closed.clear()
    share.fields.clear()


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


NOW = datetime.now(UTC)
TELLING = {"tag": {"ETag": "one"}, "old": {"mtime": NOW - timedelta(days=2)}, "ms": {"modificationTime": 10**12}}
SILENT = {
    "nothing": {},
    "no tag": {"ETag": None},
    "weak": {"ETag": 'W/"one"'},
    "seconds": {"mtime": NOW.replace(microsecond=0)},
    "future": {"last_write_time": NOW.timestamp() + 9e6},
    "text": {"modify": "Jan 01 2020"},
}


@pytest.mark.parametrize("fields", SILENT.values(), ids=SILENT)
def test_a_change_that_nothing_tells_of_is_brought(share: Share, tmp_path: Path, fields: dict[str, object]) -> None:
    """Some places say no more of a file than its size, or when it was written to the second."""
    share.fields.update(fields)
    for name in (b"Mara", b"Omar"):
        share.pipe({"/in/a.csv": CONTENT.replace(b"Mara", name)})
        assert run("share://in", tmp_path) == 0
        assert (tmp_path / "a.csv").read_bytes() == CONTENT.replace(b"Mara", name)


@pytest.mark.parametrize("fields", TELLING.values(), ids=TELLING)
def test_what_has_not_changed_is_not_brought_again(
    share: Share, tmp_path: Path, fields: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    share.fields.update(fields)
    share.pipe({"/in/a.csv": CONTENT})
    for unchanged in (0, 1):
        assert run("share://in", tmp_path) == 0
        assert f"unchanged={unchanged}" in capsys.readouterr().err


def test_an_archive_packed_anew_is_read_anew(tmp_path: Path) -> None:
    """Whose packer gives each file the same time, so that the archive does not depend on it."""
    for name in (b"Mara", b"Omar"):
        content = CONTENT.replace(b"Mara", name)
        with tarfile.open(tmp_path / "in.tar", "w") as archive:
            member = tarfile.TarInfo("in/a.csv")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        assert run(f"tar://in::file://{tmp_path}/in.tar", tmp_path / "out") == 0
        assert (tmp_path / "out/a.csv").read_bytes() == content
