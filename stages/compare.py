"""Two runs over the same rows -> what differs, and which of them is right more often.

A and B are what the answer stage wrote: two CSVs, or two folders of CSVs. Compare before a new model
replaces an old one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from runtime import command
from runtime.errors import AnswermillError, OptionError
from stages.comparing.options import CompareOptions, arguments
from stages.csvs.labels import check_labelled


def compare(options: CompareOptions) -> int:
    """Reads both runs and writes what differs to stdout. Returns the exit code: 0 also if rows differ."""
    from stages.comparing.comparison import Comparison
    from stages.comparing.report import as_json, as_text

    check_kinds(options.a, options.b)
    comparison = Comparison(options)
    comparison.read()
    counts = comparison.counts
    if code := command.exit_code(comparison.failed, comparison.files):
        if not counts.rows:
            return code
    elif not counts.rows or counts.asked_otherwise > counts.rows:
        raise AnswermillError(comparison.nothing_to_compare())
    check_labelled(options.expected, counts.labelled, "compared row")
    lines = [as_json(comparison)] if options.json else as_text(comparison)
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    return code


def check_kinds(a: Path, b: Path) -> None:
    """Raises OptionError for a CSV and a folder, whose rows cannot be told to be the same."""
    if a.exists() and b.exists() and a.is_dir() != b.is_dir():
        raise OptionError(f"{a} and {b} are a file and a folder; give two CSVs, or two folders")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("compare", compare, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
