"""Pipeline specs: reading them, what the local runner needs of them, and the order they depend on each other in."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.spec.fields import read_spec
from pachyderm.spec.inputs import Input
from pachyderm.spec.model import DatumSet, Transform

# A spec's JSON, as it is sent to a cluster; `read_spec` makes types of it.
RawSpec = dict[str, Any]
HERE = Path(__file__).parent.parent

_SETS_PER_WORKER = 4
_TRIES = 3
_SURROGATE = re.compile(r"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What running one pipeline needs to know of its spec, defaults filled in.

    Attributes:
        input: the input tree, with names, repos and branches filled in.
        datum_timeout, job_timeout: seconds, or None for no limit.
        digest: changes when the spec does.

    """

    name: str
    transform: Transform
    input: Input
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
    """The spec files among files and folders; the shipped ones if none is named. Raises PachydermError."""
    files: list[Path] = []
    for path in paths or [HERE]:
        inside = sorted(path.glob("*.pipeline.json")) if path.is_dir() else [path]
        if not inside:
            raise PachydermError(f"{path}: no *.pipeline.json in it")
        files += inside
    return files


def read_specs(paths: Sequence[Path]) -> dict[str, RawSpec]:
    """Specs by the name of their file, with an index if a file holds a list. Raises PachydermError."""
    specs: dict[str, RawSpec] = {}
    for path in paths:
        try:
            text = path.read_text("utf-8")
            content = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_no_number)
        except OSError as error:
            raise PachydermError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
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


def parse_pipeline(raw: Mapping[str, Any]) -> Pipeline:
    """The pipeline of a spec that has passed the rules."""
    spec, _ = read_spec(raw)
    sets = spec.datum_set_spec or DatumSet()
    return Pipeline(
        name=spec.pipeline.name,
        transform=spec.transform or Transform(),
        input=spec.input or Input(),
        workers=spec.parallelism_spec.constant or 1,
        cpus=spec.resource_requests.cpu or 0,
        set_number=sets.number,
        set_bytes=sets.size_bytes,
        sets_per_worker=sets.per_worker or _SETS_PER_WORKER,
        tries=spec.datum_tries or _TRIES,
        datum_timeout=spec.datum_timeout,
        job_timeout=spec.job_timeout,
        every_job=spec.reprocess_spec == "every_job",
        digest=hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()[:16],
    )


def in_order(pipelines: Mapping[str, Sequence[str]]) -> list[str]:
    """Pipelines so that each comes after those whose repos it reads. Raises PachydermError for a circle."""
    graph = {name: [repo for repo in reads if repo in pipelines] for name, reads in pipelines.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise PachydermError(f"pipelines read each other in a circle: {circle}") from error


def fill_in(raw: RawSpec, *, image: str | None = None, bucket: str | None = None, repo: str | None = None) -> RawSpec:
    """The spec for one place: its image, the URL that a stage reads, or a repo filled by hand instead of `ingest`."""
    copy: RawSpec = json.loads(json.dumps(raw))
    transform = copy.get("transform")
    if isinstance(transform, dict):
        cmd = transform.get("cmd")
        if image:
            transform["image"] = image
        if bucket and isinstance(cmd, list):
            transform["cmd"] = [bucket if "://" in str(word) else word for word in cmd]
        if repo and isinstance(cmd, list) and copy["pipeline"]["name"] == "load":
            # Nothing that ingest wrote: `a.csv.parts/…` in such a repo is a folder of the user's own.
            transform["cmd"] = [*cmd, "--plain-names"]
    if repo and copy["input"]["pfs"]["repo"] == "ingest":
        copy["input"]["pfs"]["repo"] = repo
    return copy


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"{', '.join(twins)} appears twice in one object")
    return dict(pairs)
