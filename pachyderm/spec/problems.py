"""What the rules find: what a server refuses, and what it takes although it is unwise."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pachyderm.errors import SpecError
from runtime.typed_json import Problem


def lint(path: str, reason: str) -> Problem:
    """A problem with what a server takes."""
    return Problem(path, reason, is_legal=True)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with specs, a line each: file, path, reason.

    Attributes:
        errors: what Pachyderm or Kubernetes refuses.
        lint: what both take, although it fails later or surprises.

    """

    errors: Sequence[str] = ()
    lint: Sequence[str] = ()

    def enforce(self, *, strict: bool = False) -> None:
        """Raises SpecError for errors, in strict mode for lint too. Lint that does not stop the command is logged."""
        if self.errors or (strict and self.lint):
            raise SpecError([*self.errors, *self.lint])
        for line in self.lint:
            logging.warning("%s", line)


def findings(problems: Collection[tuple[str, Problem]]) -> Findings:
    """The findings for problems, each with the file that it is in."""
    errors = [_line(where, problem.path, problem.reason) for where, problem in problems if not problem.is_legal]
    unwise = [(where, problem) for where, problem in problems if problem.is_legal]
    return Findings(errors, [_line(where, path, f"legal, but {reason}") for where, (path, reason, _) in unwise])


def _line(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
