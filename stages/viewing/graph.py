"""Which pipelines read which repos, and in which order they stand."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COMBINED = ("cross", "union", "join", "group")


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The inputs of a tree, `pfs` or `cron`, in order."""
    for kind in ("pfs", "cron"):
        if kind in tree:
            yield kind, tree[kind]
    for kind in COMBINED:
        for child in tree.get(kind, ()):
            yield from leaves(child)


def repos(tree: Mapping[str, Any]) -> list[str]:
    """The repos that a tree reads, those of ticks among them, each once."""
    return list(dict.fromkeys(str(leaf.get("repo", leaf.get("name", ""))) for _, leaf in leaves(tree)))


def sources(pipelines: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[dict[str, Any]]:
    """What is read and no pipeline writes: repos and ticks. Repos that are there and nobody reads come last."""
    written = {pipeline["name"] for pipeline in pipelines}
    read = {
        str(leaf.get("repo", leaf.get("name", ""))): {"kind": kind, "spec": leaf.get("spec", "")}
        for pipeline in pipelines
        for kind, leaf in leaves(pipeline["input"])
    }
    unread = {name: {"kind": "pfs", "spec": ""} for name in known}
    return [{"name": name, **source} for name, source in {**unread, **read}.items() if name not in written]


def in_order(pipelines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pipelines after those whose repos they read, each with its `level`, above 0, and the repos that it `reads`."""
    by_name = {pipeline["name"]: {**pipeline, "reads": repos(pipeline["input"])} for pipeline in pipelines}
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 1
            levels[name] = 1 + max((level(repo) for repo in by_name[name]["reads"] if repo in by_name), default=0)
        return levels[name]

    return [{**by_name[name], "level": level(name)} for name in sorted(by_name, key=lambda name: (level(name), name))]
