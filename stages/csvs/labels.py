"""How the rows of a run are labelled with right answers: the options of the commands that judge answers."""

import argparse

from runtime.errors import OptionError

_EXPECTED = "expected"


def add_expected(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--expected", default=_EXPECTED, metavar="COLUMN", help="column with the right answers, if there is one"
    )
    parser.add_argument(
        "--blank-is-no-answer",
        action="store_true",
        help="take a blank field of that column to mean that the context holds no answer, as in SQuAD 2; "
        "default: that the right answer is not known",
    )


def check_labelled(expected: str, labelled: int, noun: str) -> None:
    """Raises OptionError if a column was asked for that says nothing of any row, in the command's word for one."""
    if expected != _EXPECTED and not labelled:
        raise OptionError(f"--expected {expected}: no {noun} has a value in this column; name another")
