"""The input of a pipeline as types: a tree of repos and ticks, with the names that Pachyderm fills in."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NewType

Time = NewType("Time", str)


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a new commit starts a job."""

    branch: str = ""
    all: bool = False
    rate_limit_spec: str = ""
    size: str = ""
    commits: int = 0
    cron_spec: str = ""


@dataclass(frozen=True, slots=True)
class Propagation:
    """Whether a new commit starts a job at all."""

    never: bool = False


@dataclass(frozen=True, slots=True)
class Pfs:
    """An input from a repo; its name is the repo's if it has none."""

    project: str = ""
    name: str = ""
    repo: str = ""
    repo_type: str = "user"
    branch: str = "master"
    commit: str = ""
    glob: str = ""
    join_on: str = ""
    outer_join: bool = False
    group_by: str = ""
    lazy: bool = False
    empty_files: bool = False
    s3: bool = False
    trigger: Trigger | None = None
    propagation_spec: Propagation | None = None
    reference: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.repo)
        object.__setattr__(self, "branch", self.branch or "master")


@dataclass(frozen=True, slots=True)
class Cron:
    """An input that ticks."""

    name: str = ""
    project: str = ""
    repo: str = ""
    commit: str = ""
    spec: str = ""
    overwrite: bool = False
    start: Time | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A node of the input tree: exactly one of these."""

    pfs: Pfs | None = None
    cross: tuple["Input", ...] = ()
    join: tuple["Input", ...] = ()
    group: tuple["Input", ...] = ()
    union: tuple["Input", ...] = ()
    cron: Cron | None = None

    @property
    def children(self) -> tuple["Input", ...]:
        """The nodes right below."""
        return (*self.cross, *self.join, *self.group, *self.union)

    def leaves(self) -> Iterator[Pfs | Cron]:
        """The inputs from repos and the ticks, in order."""
        yield from (leaf for leaf in (self.pfs, self.cron) if leaf)
        for child in self.children:
            yield from child.leaves()

    def repos(self) -> list[str]:
        """Names of the repos that are read, those of ticks among them."""
        return [leaf.repo for leaf in self.leaves()]

    def as_data(self) -> dict[str, Any]:
        """The tree as plain data, for people to see; without what is not set, or never changes."""
        tree: dict[str, Any] = _set_fields(asdict(self))
        return tree

    def of(self, pipeline: str) -> "Input":
        """The same input, with names for the repos of ticks: they are named after the pipeline if they have none."""
        cross, join, group, union = (
            tuple(child.of(pipeline) for child in children)
            for children in (self.cross, self.join, self.group, self.union)
        )
        cron = self.cron and replace(self.cron, repo=self.cron.repo or f"{pipeline}_{self.cron.name}")
        return Input(self.pfs, cross, join, group, union, cron)


def _set_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _set_fields(inner) for name, inner in value.items() if inner and name not in _UNSAID}
    return [_set_fields(inner) for inner in value] if isinstance(value, list | tuple) else value


# What says nothing to whoever wants to see which repos a pipeline reads.
_UNSAID = ("repo_type", "commit", "trigger", "propagation_spec")
