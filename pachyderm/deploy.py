"""Puts the pipelines on a cluster, through `pachctl` alone: `python -m pachyderm.deploy plan|deploy|undeploy|secrets`.

`stamp` needs no cluster: it writes the specs with an image put in, for a release to hand out.

Each step asks whether the thing exists and creates or updates it, so a deployment can be repeated, and continued
after one that broke off. Nothing secret is printed, put on a command line or written to disk: secrets and specs go to
pachctl's stdin.
"""

import argparse
import base64
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pachyderm.errors import PachydermError, SpecError
from pachyderm.spec.reading import HERE, Spec, effective, in_order, placed, read_specs, repos_read, spec_files
from pachyderm.spec.rules import check

BUCKET_SECRET, DATABASE_SECRET = "answermill-bucket", "answermill-database"
TEMPLATES = HERE / "secrets"
# What `make secrets` reads the database's address from, and libpq's name for each in a service file.
_LIBPQ = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGSSLMODE": "sslmode",
}
_TLS_FILES = {"PGSSLROOTCERT": "root.crt", "PGSSLCERT": "client.crt", "PGSSLKEY": "client.key"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the cluster is to have, or to have no more.

    Attributes:
        probe: command that succeeds if the thing is there.
        present, absent: what to do if it is, and if it is not; None for nothing.
        stdin: what these are given.
        shown: what stdin is, for people.

    """

    probe: tuple[str, ...]
    present: tuple[tuple[str, ...], ...] = ()
    absent: tuple[tuple[str, ...], ...] = ()
    stdin: str = ""
    shown: str = ""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pachyderm.deploy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 done, 1 failed, 2 usage.",
        allow_abbrev=False,
    )
    parser.add_argument("verb", choices=("plan", "deploy", "undeploy", "secrets", "stamp"))
    parser.add_argument("--image", metavar="NAME:TAG", help="image that all pipelines run on")
    parser.add_argument("--bucket", metavar="URL", help="what ingest reads, such as gs://bucket/prefix")
    parser.add_argument("--repo", metavar="NAME", help="instead of a bucket: a repo that you put CSVs into; no ingest")
    parser.add_argument("--reprocess", action="store_true", help="do every datum again, say for a new model")
    parser.add_argument("--bucket-key", type=Path, metavar="FILE", help="secrets: the service account's key, JSON")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="stamp: where the specs are written")
    parser.add_argument("--with-secrets", action="store_true", help="undeploy: delete the secrets too")
    given = parser.parse_args(argv)
    if given.verb in ("plan", "deploy", "stamp") and not given.image:
        parser.error("--image is missing: which image are the pipelines to run on?")
    if given.verb == "stamp" and not given.output:
        parser.error("--output is missing: which folder are the specs to be written to?")
    if given.verb in ("plan", "deploy"):
        if bool(given.bucket) == bool(given.repo):
            parser.error("give either --bucket gs://bucket/prefix or --repo NAME")
        if given.bucket and "://" not in given.bucket:
            parser.error(f"--bucket {given.bucket}: write a URL, such as gs://{given.bucket}")
    return given


def specs_for(image: str, bucket: str | None, repo: str | None) -> dict[str, Spec]:
    """The shipped specs for one place, by pipeline, in the order to create them in. Raises SpecError."""
    specs = read_specs(spec_files([]))
    if repo:
        del specs["ingest.pipeline.json"]
    specs = {where: placed(spec, image=image, bucket=bucket, repo=repo) for where, spec in specs.items()}
    if problems := check(specs, [repo] if repo else []):
        raise SpecError(problems)
    by_name = {spec["pipeline"]["name"]: spec for spec in specs.values()}
    return {
        name: by_name[name] for name in in_order({n: repos_read(effective(s)["input"]) for n, s in by_name.items()})
    }


def stamp(image: str, folder: Path) -> None:
    """Writes the shipped specs, on this image, under their own names. Raises SpecError for an image that can move."""
    specs = {where: placed(spec, image=image) for where, spec in read_specs(spec_files([])).items()}
    if problems := check(specs, []):
        raise SpecError(problems)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, spec in specs.items():
            (folder / name).write_text(json.dumps(spec, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise PachydermError(f"{error.filename}: {error.strerror}") from error


def deploy_steps(
    image: str, bucket: str | None, repo: str | None, *, reprocess: bool, secrets: Mapping[str, Mapping[str, bytes]]
) -> Iterator[Step]:
    """Secrets and a repo where they are missing, then pipelines in order.

    A secret that is there stays as it is, whatever this shell's PG* variables happen to say; `secrets` replaces it.
    """
    specs = specs_for(image, bucket, repo)
    for name in sorted({secret["name"] for spec in specs.values() for secret in spec["transform"].get("secrets", [])}):
        if name in secrets:
            yield replace(secret_step(name, secrets[name]), present=())
        else:
            yield Step(("inspect", "secret", name), absent=(("make secrets",),))
    if repo:
        yield Step(("inspect", "repo", repo), absent=(("create", "repo", repo),))
    again = ("--reprocess",) if reprocess else ()
    for name, spec in specs.items():
        yield Step(
            ("inspect", "pipeline", name),
            present=(("update", "pipeline", *again, "-f", "-"),),
            absent=(("create", "pipeline", "-f", "-"),),
            stdin=json.dumps(spec, indent=2),
            shown=f"{name}.pipeline.json with image {image}" + (f" and {bucket}" if name == "ingest" else ""),
        )


def undeploy_steps(*, with_secrets: bool) -> Iterator[Step]:
    """Pipelines, the last first. With a pipeline goes its output; a repo that was filled by hand stays."""
    specs = {spec["pipeline"]["name"]: spec for spec in read_specs(spec_files([])).values()}
    order = in_order({name: repos_read(effective(spec)["input"]) for name, spec in specs.items()})
    for name in reversed(order):
        yield Step(("inspect", "pipeline", name), present=(("delete", "pipeline", name),))
    if with_secrets:
        for name in (BUCKET_SECRET, DATABASE_SECRET):
            yield Step(("inspect", "secret", name), present=(("delete", "secret", name),))


def filled_secrets(environment: Mapping[str, str], bucket_key: Path | None) -> dict[str, dict[str, bytes]]:
    """The files of each secret that files and variables are given for. Raises PachydermError for a missing file."""
    filled = {}
    if bucket_key:
        filled[BUCKET_SECRET] = {"key.json": _read(bucket_key)}
    if environment.get("PGHOST"):
        files = {file: _read(Path(environment[name])) for name, file in _TLS_FILES.items() if environment.get(name)}
        filled[DATABASE_SECRET] = {"pg_service.conf": service_file(environment).encode(), **files}
    return filled


def secret_step(name: str, files: Mapping[str, bytes]) -> Step:
    """Creates a secret, or replaces it: there is no update, and pods that run keep the files that they have."""
    create = ("create", "secret", "-f", "/dev/stdin")
    return Step(
        ("inspect", "secret", name),
        present=(("delete", "secret", name), create),
        absent=(create,),
        stdin=secret(name, files),
        shown=f"secret {name} with {', '.join(files)}",
    )


def service_file(environment: Mapping[str, str]) -> str:
    """A service file of libpq's for what the PG* variables say; certificates where the secret is mounted.

    Raises PachydermError for a value that such a file cannot hold: it knows no quoting.
    """
    lines = ["[answermill]"]
    for name, key in _LIBPQ.items():
        if value := environment.get(name):
            if "\n" in value or value != value.strip():
                raise PachydermError(f"{name}: a service file cannot hold line breaks or blanks at the ends")
            lines.append(f"{key}={value}")
    keys = {"PGSSLROOTCERT": "sslrootcert", "PGSSLCERT": "sslcert"}
    lines += [f"{key}=/secrets/database/{_TLS_FILES[name]}" for name, key in keys.items() if environment.get(name)]
    return "\n".join([*lines, ""])


def secret(name: str, files: Mapping[str, bytes]) -> str:
    """The template of a secret, filled: JSON, as pachctl takes no YAML here."""
    template = json.loads((TEMPLATES / f"{name}.json").read_text("utf-8"))
    template["data"] = {file: base64.b64encode(content).decode() for file, content in files.items()}
    return json.dumps(template)


def take(step: Step) -> None:
    """Brings one thing about. Raises PachydermError with what pachctl says."""
    there = _pachctl(step.probe, "").returncode == 0
    for command in step.present if there else step.absent:
        if command == ("make secrets",):
            raise PachydermError(f"{step.probe[1]} {step.probe[2]} is not on the cluster: run make secrets first")
        done = _pachctl(command, step.stdin)
        if done.returncode:
            raise PachydermError(f"pachctl {shlex.join(command)}: {' '.join(done.stderr.split())}")
        logging.info("pachctl %s%s", shlex.join(command), f"  # {step.shown}" if "-f" in command else "")


def plan(step: Step) -> Iterator[str]:
    """The step as lines of a shell."""
    yield f"pachctl {shlex.join(step.probe)}"
    for found, commands in (("if it is there", step.present), ("if it is not", step.absent)):
        for command in commands:
            words = command[0] if command == ("make secrets",) else f"pachctl {shlex.join(command)}"
            shown = f"; stdin: {step.shown}" if "-f" in command else ""
            yield f"    {words}  # {found}{shown}"


def _pachctl(words: Sequence[str], stdin: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(["pachctl", *words], input=stdin, capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError as error:
        raise PachydermError("pachctl is not on the PATH; pachyderm/README.md says how to install it") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PachydermError(f"{path}: {error.strerror}") from error


def steps(given: argparse.Namespace) -> Iterator[Step]:
    """What a verb comes to."""
    if given.verb == "undeploy":
        return undeploy_steps(with_secrets=given.with_secrets)
    if given.verb == "secrets":
        if not (filled := filled_secrets(os.environ, given.bucket_key)):
            raise PachydermError("nothing to fill secrets with: give BUCKET_KEY=key.json, or set PGHOST, PGUSER, …")
        return iter([secret_step(name, files) for name, files in filled.items()])
    filled = filled_secrets(os.environ, given.bucket_key)
    return deploy_steps(given.image, given.bucket, given.repo, reprocess=given.reprocess, secrets=filled)


def main(argv: Sequence[str] | None = None) -> int:
    """Plans, deploys or undeploys; returns the exit code."""
    given = arguments(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s", force=True)
    try:
        if given.verb == "stamp":
            stamp(given.image, given.output)
            return 0
        for step in steps(given):
            if given.verb == "plan":
                sys.stdout.writelines(f"{line}\n" for line in plan(step))
            else:
                take(step)
    except PachydermError as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
