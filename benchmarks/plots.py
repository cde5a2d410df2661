"""`python -m benchmarks.plots TABLE.md --value rows/s`: a column of a Markdown table as bars, in SVG.

It draws what a benchmark has printed, or what stands in a README, so a picture can be made again without a run. The
first row, which is ours, is set off.
"""

import argparse
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from runtime import command

_BAR, _GAP, _LABELS, _WIDTH = 18, 8, 230, 700
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}.ours{fill:#0a6b51}"
    ".other{fill:#9aa4ad}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#3fb68b}.other{fill:#6b7680}}"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Draws a table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument(
        "table", type=Path, metavar="TABLE.md", help="a file with a Markdown table; the first that fits"
    )
    parser.add_argument("--value", required=True, metavar="COLUMN", help="the column to draw, such as rows/s")
    parser.add_argument("--title", help="default: the column's name")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.svg", help="the picture")
    command.add_common(parser)
    return command.run("benchmarks.plots", draw, parser.parse_args(argv))


def draw(options: argparse.Namespace) -> int:
    """Draws a table. Returns the exit code."""
    rows = column_of(options.table.read_text("utf-8"), options.value)
    if not rows:
        print(f"{options.table}: no table with a column {options.value}", file=sys.stderr)
        return 1
    options.output.write_text(bars(options.title or options.value, rows), "utf-8")
    return 0


def column_of(markdown: str, column: str) -> list[tuple[str, float]]:
    """Label and value of each row with a number in the first table that has the column; labels stand in its first."""
    rows: list[tuple[str, float]] = []
    index = 0
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells and rows:
            break
        if not index and column in cells:
            index = cells.index(column)
        elif index and cells and cells[index][:1].isdigit():
            rows.append((cells[0], float(cells[index].split()[0])))
    return rows


def bars(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """The rows as bars below each other, as SVG that reads on light and dark grounds."""
    longest = max(value for _, value in rows) or 1.0
    height = 40 + len(rows) * (_BAR + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style><text class="title" x="0" y="18">{escape(title)}</text>'
    ]
    for number, (label, value) in enumerate(rows):
        top = 34 + number * (_BAR + _GAP)
        width = (_WIDTH - _LABELS - 60) * value / longest
        parts.append(
            f'<text x="{_LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="{"other" if number else "ours"}" x="{_LABELS}" y="{top}" width="{width:.1f}" '
            f'height="{_BAR}" rx="2"/><text x="{_LABELS + width + 6:.1f}" y="{top + 14}">{value:g}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    sys.exit(main())
