"""The options of the verbs, and what those of `deploy` do. Imports little, so that `--help` answers at once."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pachyderm.roots import DEMO, ROOT
from runtime import command
from runtime.command import positive

DEPLOY_VERBS = {
    "plan": "Shows what deploy would do; needs no pachctl.",
    "deploy": "Puts the pipelines on a cluster; leaves unchanged ones alone.",
    "undeploy": "Takes the pipelines and their output off the cluster.",
    "secrets": "Replaces the cluster's secrets with those from files and libpq's variables.",
    "stamp": "Writes the specs with an image filled in; needs no cluster.",
}


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What the command line of a verb of `deploy` says; what no option of the verb is about has its default."""

    verb: str
    log_format: str
    image: str = ""
    bucket: str | None = None
    repo: str | None = None
    reprocess: Sequence[str] | None = None
    now: bool = False
    wait: bool = False
    no_wait: bool = False
    bucket_key: Path | None = None
    output: Path | None = None
    with_secrets: bool = False
    rpc_timeout: int = 60


def add_check(parser: argparse.ArgumentParser) -> None:
    """The options of `check`."""
    _add_specs(parser)
    parser.add_argument(
        "--repo", action="append", default=[], metavar="NAME", help="name of a repo that already exists"
    )
    parser.add_argument("--strict", action="store_true", help="also fail for what is legal but unwise")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    _add_specs(parser)
    parser.add_argument("--root", type=command.location, default=ROOT, help="folder with the state")
    parser.add_argument("--bucket", metavar="URL", help="what `ingest` reads instead of the spec's gs://…")
    parser.add_argument("--tick", action="store_true", help="let cron inputs tick now, not only when they are due")
    parser.add_argument(
        "--reprocess", action="append", default=[], metavar="PIPELINE", help="process all datums of this pipeline again"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="largest number of workers at a time; default: as many as the CPUs allow",
    )
    parser.add_argument(
        "--repo",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        type=_pair,
        help="use a folder as a repo that no pipeline writes",
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="PATH=FOLDER",
        type=_pair,
        help="folder that takes the place of a path in the image; default: /model=build/model",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="set a variable, instead of the spec's; without a value, pass on this shell's, or unset it",
    )
    parser.add_argument(
        "--secrets",
        type=command.location,
        metavar="FOLDER",
        help="folder with a file SECRET/KEY for each key; default: ROOT/secrets",
    )
    parser.add_argument(
        "--without-secret",
        action="append",
        default=[],
        metavar="NAME",
        help="do not ask for this secret; its folder stays empty",
    )
    parser.add_argument(
        "--pfs", action="store_true", help="mount a real /pfs instead of replacing the path with a folder"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only show which pipelines would run, how many datums, and how long"
    )
    parser.add_argument("--json", action="store_true", help="print the jobs, or the plan, as JSON")


def add_status(parser: argparse.ArgumentParser) -> None:
    """The options of `status`."""
    parser.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="show the jobs and datums of this pipeline")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    cluster = parser.add_argument_group("on a cluster", "for cron and probes: exit code 1 if something is stuck")
    cluster.add_argument("--cluster", action="store_true", help="ask pachctl, and the database that DATABASE_URL names")
    cluster.add_argument(
        "--patience",
        type=positive,
        default=10_800,
        metavar="SECONDS",
        help="how long a job may wait, and how long ago the last success may be",
    )
    cluster.add_argument("--table", default="question_answer", help="the table that load fills")
    add_timeout(cluster)
    parser.add_argument("--html", metavar="FILE", help="write everything to an HTML page instead")
    add_root(parser)


def add_logs(parser: argparse.ArgumentParser) -> None:
    """The options of `logs`."""
    parser.add_argument("pipeline", metavar="PIPELINE", help="a pipeline of the run")
    parser.add_argument(
        "--job", type=int, metavar="NUMBER", help="number of the job; default: the last one that ran a datum"
    )
    parser.add_argument("--datum", metavar="ID_OR_PATH", help="only this one: the start of its id, or part of its path")
    add_root(parser)


def deploy_arguments(verb: str, argv: Sequence[str]) -> DeployOptions:
    """The options of a verb of `deploy`."""
    parser = command.parser(verb, DEPLOY_VERBS[verb])
    if verb in ("plan", "deploy", "stamp"):
        parser.add_argument("--image", default="", metavar="NAME:TAG", help="image that all pipelines run on")
    if verb in ("plan", "deploy"):
        _add_deploy(parser)
    if verb in ("plan", "deploy", "secrets"):
        parser.add_argument(
            "--bucket-key", type=command.location, metavar="FILE", help="key of the service account, as JSON"
        )
    if verb == "stamp":
        parser.add_argument("--output", type=command.location, metavar="FOLDER", help="folder to write the specs to")
    if verb == "undeploy":
        parser.add_argument("--with-secrets", action="store_true", help="delete the secrets too")
    if verb in ("deploy", "undeploy", "secrets"):
        add_timeout(parser)
    options = DeployOptions(verb, **vars(parser.parse_args(argv)))
    _check_deploy(parser, options)
    return options


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bucket", metavar="URL", help="what ingest reads, such as gs://bucket/prefix")
    parser.add_argument("--repo", metavar="NAME", help="repo that you put CSVs into, instead of a bucket and ingest")
    parser.add_argument(
        "--reprocess",
        nargs="*",
        metavar="PIPELINE",
        help="process every datum of these again, for example with a new model; without a name, of all",
    )
    jobs = parser.add_mutually_exclusive_group()
    jobs.add_argument("--now", action="store_true", help="kill the running jobs of pipelines that change")
    jobs.add_argument("--wait", action="store_true", help="wait for the running jobs of pipelines that change")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the jobs that the updates start")


def _check_deploy(parser: argparse.ArgumentParser, options: DeployOptions) -> None:
    """Ends the process if options are missing or do not go together."""
    if options.verb in ("plan", "deploy", "stamp") and not options.image:
        parser.error("--image is missing: give the image that the pipelines run on")
    if options.verb == "stamp" and not options.output:
        parser.error("--output is missing: give the folder to write the specs to")
    if options.verb in ("plan", "deploy"):
        if bool(options.bucket) == bool(options.repo):
            parser.error("give either --bucket gs://bucket/prefix or --repo NAME")
        if options.bucket and "://" not in options.bucket:
            parser.error(f"--bucket {options.bucket}: write a URL, such as gs://{options.bucket}")


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds `--root` to a command that looks at a run; where it is not given, `last_root` says which."""
    parser.add_argument(
        "--root",
        type=command.location,
        help=f"folder with the state; default: {ROOT} or {DEMO}, whichever was used last",
    )


def add_timeout(parser: argparse._ActionsContainer) -> None:
    """Adds `--rpc-timeout`, to a parser or to a group of one."""
    parser.add_argument(
        "--rpc-timeout", type=positive, default=60, metavar="SECONDS", help="time limit of each call of pachctl"
    )


def _add_specs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "specs",
        nargs="*",
        type=command.location,
        metavar="SPEC",
        help="spec files, or folders of them; default: the specs of this package",
    )


def _pair(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=FOLDER")
    return name, Path(folder)
