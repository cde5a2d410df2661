"""Pipeline specs: reading them, what Pachyderm adds to them, and the order they depend on each other in."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.spec.fields import seconds

Spec = dict[str, Any]
HERE = Path(__file__).parent.parent

# What the server puts below every spec.
_DEFAULTS: Spec = {
    "transform": {"image": "ubuntu:20.04"},
    "outputBranch": "master",
    "datumTries": 3,
    "reprocessSpec": "until_success",
}
_SETS_PER_WORKER = 4
_SURROGATE = re.compile(r"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}")
_KINDS = ("cross", "join", "group", "union")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What running one pipeline needs to know of its spec, defaults filled in.

    Attributes:
        input: the input tree, with names, repos and branches filled in.
        datum_timeout, job_timeout: seconds, or None for no limit.
        digest: changes when the spec does.

    """

    name: str
    transform: Mapping[str, Any]
    input: Mapping[str, Any]
    workers: int
    cpus: float
    set_number: int
    set_bytes: int
    sets_per_worker: int
    tries: int
    datum_timeout: float | None
    job_timeout: float | None
    every_job: bool
    digest: str


def spec_files(paths: Sequence[Path]) -> list[Path]:
    """The spec files among files and folders; the shipped ones where none is named. Raises PachydermError."""
    found: list[Path] = []
    for path in paths or [HERE]:
        inside = sorted(path.glob("*.pipeline.json")) if path.is_dir() else [path]
        if not inside:
            raise PachydermError(f"{path}: no *.pipeline.json in it")
        found += inside
    return found


def read_specs(paths: Sequence[Path]) -> dict[str, Spec]:
    """Specs by where they stand: the file's name, with an index where a file holds a list. Raises PachydermError."""
    specs: dict[str, Spec] = {}
    for path in paths:
        try:
            text = path.read_text("utf-8")
            content = json.loads(text, object_pairs_hook=_without_twins)
        except OSError as error:
            raise PachydermError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise PachydermError(f"{path}: not JSON: {error}") from error
        if surrogate := _SURROGATE.search(text):
            raise PachydermError(f"{path}: {surrogate[0]}: Pachyderm takes no escaped surrogates; write the character")
        many = isinstance(content, list)
        for index, spec in enumerate(content if many else [content]):
            where = f"{path.name}[{index}]" if many else path.name
            if not isinstance(spec, dict):
                raise PachydermError(f"{where}: not an object")
            specs[where] = {name: value for name, value in spec.items() if name != "$schema"}
    return specs


def effective(spec: Spec) -> Spec:
    """The spec as the server keeps it: defaults below it, null taking one away, inputs with all their names."""
    merged: Spec = _merge(_DEFAULTS, spec)
    if isinstance(merged.get("input"), dict):
        name = (merged.get("pipeline") or {}).get("name", "")
        merged["input"] = _full_input(merged["input"], name)
    return merged


def pipeline(spec: Spec) -> Pipeline:
    """The pipeline of a spec that has passed the rules."""
    whole = effective(spec)
    sets = whole.get("datumSetSpec") or {}
    timeout, job_timeout = whole.get("datumTimeout"), whole.get("jobTimeout")
    return Pipeline(
        name=whole["pipeline"]["name"],
        transform=whole["transform"],
        input=whole["input"],
        workers=(whole.get("parallelismSpec") or {}).get("constant") or 1,
        cpus=(whole.get("resourceRequests") or {}).get("cpu") or 0,
        set_number=sets.get("number") or 0,
        set_bytes=sets.get("sizeBytes") or 0,
        sets_per_worker=sets.get("perWorker") or _SETS_PER_WORKER,
        tries=whole.get("datumTries") or 1,
        datum_timeout=seconds(timeout) if timeout else None,
        job_timeout=seconds(job_timeout) if job_timeout else None,
        every_job=whole.get("reprocessSpec") == "every_job",
        digest=hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16],
    )


def leaves(node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each ("pfs" or "cron", its fields) of an input tree."""
    for kind in ("pfs", "cron"):
        if node.get(kind):
            yield kind, node[kind]
    for kind in _KINDS:
        for inner in node.get(kind) or []:
            yield from leaves(inner)


def repos_read(spec_input: Mapping[str, Any]) -> list[str]:
    """Names of the repos that an effective input reads, cron's own among them."""
    return [leaf["repo"] for _, leaf in leaves(spec_input)]


def in_order(pipelines: Mapping[str, Sequence[str]]) -> list[str]:
    """Pipelines so that each comes after those whose repos it reads. Raises PachydermError for a circle."""
    order: list[str] = []
    waiting = dict(pipelines)
    while waiting:
        ready = [name for name, reads in waiting.items() if not any(repo in waiting for repo in reads)]
        if not ready:
            raise PachydermError(f"pipelines read each other in a circle: {', '.join(sorted(waiting))}")
        order += ready
        for name in ready:
            del waiting[name]
    return order


def placed(spec: Spec, *, image: str | None = None, bucket: str | None = None, repo: str | None = None) -> Spec:
    """The spec for one place: its image, the URL that a stage reads, or a repo filled by hand instead of `ingest`."""
    spec = json.loads(json.dumps(spec))
    if image:
        spec["transform"]["image"] = image
    if bucket:
        spec["transform"]["cmd"] = [bucket if "://" in word else word for word in spec["transform"]["cmd"]]
    if repo:
        for kind, leaf in leaves(spec["input"]):
            if kind == "pfs" and leaf["repo"] == "ingest":
                leaf["repo"] = repo  # type: ignore[index]
        if spec["pipeline"]["name"] == "load":
            # Nothing that ingest wrote: `a.csv.parts/…` in such a repo is a folder of the user's own.
            spec["transform"]["cmd"].append("--plain-names")
    return spec


def _full_input(node: Spec, pipeline_name: str) -> Spec:
    """An input with the names the server fills in; what is not an object is left for the rules to complain about."""
    full = dict(node)
    if isinstance(pfs := node.get("pfs"), dict):
        full["pfs"] = {"name": pfs.get("repo"), "branch": "master", "repoType": "user", **pfs}
    if isinstance(cron := node.get("cron"), dict):
        full["cron"] = {"repo": f"{pipeline_name}_{cron.get('name', '')}", **cron}
    for kind in _KINDS:
        if isinstance(node.get(kind), list):
            full[kind] = [_full_input(inner, pipeline_name) for inner in node[kind] if isinstance(inner, dict)]
    return full


def _merge(base: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, null removes, all else replaces."""
    if isinstance(patch, list):
        return [_merge(None, item) for item in patch]
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"{', '.join(twins)} stands twice in one object")
    return dict(pairs)
