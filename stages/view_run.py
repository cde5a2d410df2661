"""A run of the pipelines -> one HTML page: what ran, what failed and why, which files were rejected."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from runtime import command
from runtime.logs import summarise
from stages.common.files import whole_file

STYLES = ("shell.css", "run.css")
MODULES = ("dom.js", "charts.js", "graph.js", "run.js")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = command.parser("status", "Writes the state of a run as one HTML page.")
    parser.add_argument("--html", type=command.location, required=True, metavar="FILE", help="HTML file to write")
    parser.add_argument(
        "--root", type=command.location, help="folder with the state; default: the one that was used last"
    )
    return parser.parse_args(argv)


def view_run(options: argparse.Namespace) -> int:
    """Reads the state and writes the page. Returns the exit code."""
    from stages.viewing.run import read_status, run_data
    from stages.viewing.shell import check_page, page

    check_page("--html", options.html)
    data = run_data(read_status(options.root))
    made = datetime.now(UTC).isoformat(timespec="seconds")
    text = page("The run", "run.html", STYLES, MODULES, {**data, "made": made})
    with whole_file(options.html) as file:
        file.write(text.encode())
    summarise("done", {"pipelines": len(data["pipelines"]), "page": options.html})
    return command.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("status", view_run, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
