"""Two runs over the same rows -> what differs, and which of them is right more often.

A and B are what the answer stage wrote: two CSVs, or two folders of CSVs. Compare before a new model
replaces an old one.
"""

import argparse
import sys
from collections.abc import Sequence

from runtime import command
from runtime.errors import AnswermillError, OptionError
from stages.csvs.labels import add_expected, check_labelled


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = command.parser("compare", "Shows where two runs over the same rows differ, and which is right.")
    parser.add_argument("a", type=command.location, metavar="A", help="an answered CSV, or a folder of them")
    parser.add_argument("b", type=command.location, metavar="B", help="another run over the same rows")
    add_expected(parser)
    parser.add_argument(
        "--limit", type=command.positive, default=20, metavar="N", help="number of differing rows to show"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="the --prefix that `answer` was given")
    return parser.parse_args(argv)


def compare(options: argparse.Namespace) -> int:
    """Reads both runs and writes what differs to stdout. Returns the exit code: 0 also if rows differ."""
    from stages.comparing.comparison import Comparison
    from stages.comparing.report import as_json, as_text

    check_kinds(options)
    comparison = Comparison(options)
    comparison.read()
    counts = comparison.counts
    if code := command.exit_code(comparison.failed, comparison.files):
        if not counts.rows:
            return code
    elif not counts.rows:
        raise AnswermillError(comparison.nothing_to_compare())
    check_labelled(options.expected, counts.labelled, "compared row")
    lines = [as_json(comparison)] if options.json else as_text(comparison)
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    return code


def check_kinds(options: argparse.Namespace) -> None:
    """Raises OptionError for a CSV and a folder, whose rows cannot be told to be the same."""
    a, b = options.a, options.b
    if a.exists() and b.exists() and a.is_dir() != b.is_dir():
        raise OptionError(f"{a} and {b} are a file and a folder; give two CSVs, or two folders")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("compare", compare, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
