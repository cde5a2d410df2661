"""The pictures of the benchmarks show the figures of their tables."""

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.plots import bars, column_of, main
from tests.conftest import ROOT

TABLE = """Some text.

| peer | rows/s | ours is |
| --- | --- | --- |
| ours | 20.5 | 1.00 x |
| <another> & more | 10.25 | 2.00 x |
| a third | absent | |

| peer | rows/s |
| --- | --- |
| of another table | 1 |
"""


def test_a_column_is_read_from_the_first_table_that_has_it() -> None:
    assert column_of(TABLE, "rows/s") == [("ours", 20.5), ("<another> & more", 10.25)]
    assert column_of(TABLE, "seconds") == []


def test_bars_are_as_long_as_their_values() -> None:
    picture = ElementTree.fromstring(bars("Rows & seconds", column_of(TABLE, "rows/s")))  # noqa: S314  # our own
    widths = [float(one.attrib["width"]) for one in picture.iter() if one.tag.endswith("rect")]
    assert widths[0] == 2 * widths[1] > 0
    texts = [one.text for one in picture.iter() if one.tag.endswith("text")]
    assert texts == ["Rows & seconds", "ours", "20.5", "<another> & more", "10.25"]


def test_the_picture_of_the_readme_is_that_of_the_table(tmp_path: Path) -> None:
    """The command that stands under it draws it."""
    words = ["benchmarks/README.md", "--value", "rows/s", "--title", "Rows per second, 2 CPUs with AVX-512"]
    assert main([str(ROOT / words[0]), *words[1:], "--output", str(tmp_path / "peers.svg")]) == 0
    assert (tmp_path / "peers.svg").read_text() == (ROOT / "docs/img/peers.svg").read_text()
