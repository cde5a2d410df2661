"""Links in a folder that becomes a commit: what they lead to may be away for a while, and is not gone then."""

from pathlib import Path

import pytest

from pachyderm.errors import PachydermError
from pachyderm.local.store.snapshot import digests


def test_a_folder_that_is_not_mounted_is_not_gone(tmp_path: Path) -> None:
    """Load and prune would delete the rows of what was there."""
    for name in ("in/a.csv", "disk/sub/b.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    source = tmp_path / "in"
    (source / "sub").symlink_to(tmp_path / "disk/sub")
    assert list(digests(source)) == ["/a.csv", "/sub/b.csv"]
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    with pytest.raises(PachydermError, match="in/sub: a link to nothing; mount what it leads to, or remove it"):
        digests(source)
    (source / "sub").unlink()
    # What leads to a place that was listed, and what is hidden, is no loss.
    (source / "latest").symlink_to("yesterday")
    (source / ".hidden").symlink_to(tmp_path / "nothing")
    assert list(digests(source)) == ["/a.csv"]
