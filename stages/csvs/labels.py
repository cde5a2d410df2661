"""The options of the commands that judge answers: what the columns of answered rows are called."""

import argparse

from runtime.errors import OptionError

_EXPECTED = "expected"


def add_names(parser: argparse.ArgumentParser) -> None:
    """Adds the options whose values `Names.of` takes."""
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="the --prefix that `answer` was given")
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
    """Raises OptionError for a named column that is blank in every row; `noun` is the command's word for a row."""
    if expected != _EXPECTED and not labelled:
        raise OptionError(f"--expected {expected}: no {noun} has a value in this column; name another")
