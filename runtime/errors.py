"""The errors a user can meet, one small tree.

    AnswermillError          something that is the input's or the environment's fault
    ├── OptionError          an option's value makes no sense
    ├── BundleError          a bundle is missing, damaged, or of another format
    ├── ExportError          a checkpoint cannot become a bundle
    ├── InputError           a file breaks a rule; knows object, row, column and remedy
    ├── DatabaseError        the database refused
    └── PachydermError       a spec, a cluster or the local runner; see pachyderm/errors.py

Every message says what is wrong, where, and what to do about it, in one line.
"""

from functools import partial


class AnswermillError(Exception):
    """What went wrong is the input's or the environment's fault, and the message says it all."""

    @property
    def lines(self) -> list[str]:
        """The message as lines of a log; one, unless the error is about several things at once."""
        return [str(self)]


class OptionError(AnswermillError):
    """An option's value makes no sense."""


class BundleError(AnswermillError):
    """A bundle is missing, damaged, or of a format this version does not know."""


class ExportError(AnswermillError):
    """A checkpoint cannot be turned into a bundle."""


class InputError(AnswermillError):
    """A file breaks a rule.

    Attributes:
        reason: what is wrong, without the place.
        remedy: what the user can do about it.
        row: 1-based data row (the header is row 0), or None if the whole file is meant.
        column: name of the column, or None.

    """

    def __init__(self, reason: str, *, remedy: str, row: int | None = None, column: str | None = None) -> None:
        self.reason = reason
        self.remedy = remedy
        self.row = row
        self.column = column
        super().__init__(f"{self.place}{reason}; {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled with its keywords, so that it comes back from another process."""
        return partial(type(self), remedy=self.remedy, row=self.row, column=self.column), (self.reason,)

    @property
    def place(self) -> str:
        """`row 3, column "context": `, or as much of it as is known."""
        parts = [] if self.row is None else [f"row {self.row}" if self.row else "header"]
        if self.column is not None:
            parts.append(f'column "{self.column}"')
        return f"{', '.join(parts)}: " if parts else ""


class DatabaseError(AnswermillError):
    """The database refused, and said why."""
