"""The steps of a deployment as data: what each asks the cluster, and which calls follow from the answer."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pachyderm.credentials import BUCKET_SECRET, DATABASE_SECRET, manifest
from pachyderm.errors import PachydermError
from pachyderm.options import DeployOptions
from pachyderm.spec.reading import RawSpec, fill_in, in_order, parse_pipeline, read_specs, spec_files
from pachyderm.spec.rules import check


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the cluster should have, or should no longer have.

    Attributes:
        probe: command that succeeds if the thing exists.
        present, absent: commands to call if it exists, and if it does not.
        stdin: text that these commands read.
        shown: what stdin is, for people.
        spec: the spec of a pipeline; if the cluster has an equal one, nothing is called.

    """

    probe: tuple[str, ...]
    present: tuple[tuple[str, ...], ...] = ()
    absent: tuple[tuple[str, ...], ...] = ()
    stdin: str = ""
    shown: str = ""
    spec: RawSpec | None = None


def specs_for(image: str, bucket: str | None, repo: str | None) -> dict[str, RawSpec]:
    """The shipped specs for one place, by pipeline, in the order to create them in. Raises SpecError."""
    specs = read_specs(spec_files([]))
    if repo:
        # Nothing lists what a repo that is filled by hand should contain, and prune needs a listing.
        for name in ("ingest", "prune"):
            del specs[f"{name}.pipeline.json"]
    specs = {where: fill_in(spec, image=image, bucket=bucket, repo=repo) for where, spec in specs.items()}
    check(specs, [repo] if repo else []).enforce(strict=True)
    return _in_order(specs)


def _in_order(specs: Mapping[str, RawSpec]) -> dict[str, RawSpec]:
    """Specs by pipeline, each after those whose output it reads."""
    pipelines = {pipeline.name: (pipeline, raw) for raw in specs.values() for pipeline in [parse_pipeline(raw)]}
    return {name: pipelines[name][1] for name in in_order({n: p.input.repos() for n, (p, _) in pipelines.items()})}


def deploy_steps(options: DeployOptions, secrets: Mapping[str, Mapping[str, bytes]]) -> Iterator[Step]:
    """Secrets and a repo if they are missing, then pipelines in order.

    A secret that exists stays as it is, whatever this shell's PG* variables say; the verb `secrets` replaces it.
    """
    specs = specs_for(options.image, options.bucket, options.repo)
    if unknown := sorted(set(options.reprocess or ()) - specs.keys()):
        raise PachydermError(f"--reprocess {unknown[0]}: no such pipeline; there are {', '.join(specs)}")
    for name in sorted({secret["name"] for spec in specs.values() for secret in spec["transform"].get("secrets", [])}):
        if name in secrets:
            yield replace(secret_step(name, secrets[name]), present=())
        else:
            yield Step(("inspect", "secret", name), absent=(("make secrets",),))
    if options.repo:
        yield Step(("inspect", "repo", options.repo), absent=(("create", "repo", options.repo),))
        yield Step(("inspect", "pipeline", "prune"), present=(("delete", "pipeline", "prune"),))
    for name, spec in specs.items():
        again = options.reprocess is not None and (not options.reprocess or name in options.reprocess)
        place = f" and {options.bucket}" if name == "ingest" else ""
        yield Step(
            ("inspect", "pipeline", name, "--raw"),
            present=(("update", "pipeline", *(("--reprocess",) if again else ()), "-f", "-"),),
            absent=(("create", "pipeline", "-f", "-"),),
            # Pachyderm refuses the escaped surrogate pairs that ASCII makes of an emoji.
            stdin=json.dumps(spec, indent=2, ensure_ascii=False),
            shown=f"{name}.pipeline.json with image {options.image}{place}",
            spec=spec,
        )


def undeploy_steps(*, with_secrets: bool) -> Iterator[Step]:
    """Deletes pipelines, the last one first, with their output; a repo that was filled by hand stays."""
    for name in reversed(_in_order(read_specs(spec_files([])))):
        yield Step(("inspect", "pipeline", name), present=(("delete", "pipeline", name),))
    if with_secrets:
        for name in (BUCKET_SECRET, DATABASE_SECRET):
            yield Step(("inspect", "secret", name), present=(("delete", "secret", name),))


def secret_step(name: str, files: Mapping[str, bytes]) -> Step:
    """Creates a secret, or replaces it: deletes it and creates it again.

    Running pods keep their files in between; a pod that starts in that moment waits.
    """
    create = ("create", "secret", "-f", "/dev/stdin")
    return Step(
        ("inspect", "secret", name),
        present=(("delete", "secret", name), create),
        absent=(create,),
        stdin=manifest(name, files),
        shown=f"secret {name} with {', '.join(files)}",
    )


def plan(step: Step) -> Iterator[str]:
    """The step as lines of a shell."""
    yield f"pachctl {shlex.join(step.probe)}"
    for when, commands in (
        ("if it is there and differs" if step.spec else "if it is there", step.present),
        ("if it is not", step.absent),
    ):
        for words in commands:
            line = words[0] if words == ("make secrets",) else f"pachctl {shlex.join(words)}"
            shown = f"; stdin: {step.shown}" if "-f" in words else ""
            yield f"    {line}  # {when}{shown}"
