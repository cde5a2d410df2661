"""The options of `compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime import command
from stages.csvs.answered import Names
from stages.csvs.labels import add_names


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What the command line says, in the order and with the defaults of its parser."""

    a: Path
    b: Path
    question_column: str
    context_column: str
    prefix: str
    expected: str
    blank_is_no_answer: bool
    limit: int
    json: bool
    log_format: Literal["text", "json"]

    @property
    def names(self) -> Names:
        """What the columns of both runs are called."""
        columns = self.question_column, self.context_column, self.prefix
        return Names.of(*columns, self.expected, self.blank_is_no_answer)


def arguments(argv: Sequence[str] | None = None) -> CompareOptions:
    """The command's options."""
    parser = command.parser("compare", "Shows where two runs over the same rows differ, and which is right.")
    parser.add_argument("a", type=command.location, metavar="A", help="an answered CSV, or a folder of them")
    parser.add_argument("b", type=command.location, metavar="B", help="another run over the same rows")
    add_names(parser)
    parser.add_argument(
        "--limit", type=command.positive, default=20, metavar="N", help="number of differing rows to show"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    return CompareOptions(**vars(parser.parse_args(argv)))
