"""What the specs, the environment or the user can get wrong here: a branch of the tree in `runtime.errors`."""

from collections.abc import Sequence

from runtime.errors import AnswermillError


class PachydermError(AnswermillError):
    """A spec, a folder or a command is at fault; the message says what, where and what to do, in one line."""


class SpecError(PachydermError):
    """Specs break rules.

    Attributes:
        problems: one line each: file, path in it, what is wrong, what to write.

    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    @property
    def lines(self) -> list[str]:
        """A line for each problem."""
        return self.problems
