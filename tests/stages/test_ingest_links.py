"""A link that somebody puts into a drop folder at the worst moment leads nobody out of it."""

import io
import os
import re
from pathlib import Path

import pytest

from runtime.errors import AnswermillError, InputError
from stages.common.files import open_below
from stages.ingesting.folder import FolderSource
from stages.ingesting.source import SourceObject


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    for folder, text in (("drop/a/b", "mine"), ("secret/a/b", "secret"), ("secret/b", "secret")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "c.csv").write_text(text)
    return tmp_path / "drop"


def fetch(source: FolderSource, path: Path) -> bytes:
    file = io.BytesIO()
    file.name = "copy"
    source.fetch(SourceObject(str(path), 0), file, lambda _: None)
    return file.getvalue()


@pytest.mark.parametrize("part", ["a", "a/b", "a/b/c.csv"])
def test_a_link_that_is_put_there_after_the_check_is_refused(
    drop: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever part of the path it takes the place of. What it led to was read, and left with the folder's owner."""
    source, path = FolderSource(drop), drop / "a/b/c.csv"
    check = source._real

    def check_and_swap(of: Path) -> Path:
        real = check(of)
        (drop / part).rename(drop / "aside")
        (drop / part).symlink_to(drop.parent / "secret" / part)
        return real

    monkeypatch.setattr(source, "_real", check_and_swap)
    with pytest.raises(InputError, match="a link took its place while it was opened"):
        fetch(source, path)


@pytest.mark.parametrize("link", [False, True])
def test_what_lies_in_the_folder_is_fetched_through_its_links(drop: Path, link: bool) -> None:
    """The folder itself may be reached by a link, too."""
    (drop / "inner").symlink_to("a/b")
    (drop.parent / "way").symlink_to(drop)
    root = drop.parent / "way" if link else drop
    for path in ("a/b/c.csv", "inner/c.csv"):
        assert fetch(FolderSource(root), root / path) == b"mine"
    with pytest.raises(InputError, match="leads out of the folder"):
        (drop / "out").symlink_to("../secret/b")
        fetch(FolderSource(root), root / "out/c.csv")
    assert fetch(FolderSource(root, follow_links=True), root / "out/c.csv") == b"secret"


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_named_in_full(drop: Path) -> None:
    (drop / "a/b/c.csv").chmod(0)
    with pytest.raises(AnswermillError, match=re.escape(f"{drop}/a/b/c.csv: Permission denied; give the right")):
        fetch(FolderSource(drop), drop / "a/b/c.csv")


def test_an_error_of_a_path_below_a_folder_names_it_in_full(drop: Path) -> None:
    for path in ("a/b/none.csv", "a/none/c.csv"):
        with pytest.raises(FileNotFoundError) as told:
            open_below(drop, drop / path)
        assert told.value.filename == str(drop / path)
