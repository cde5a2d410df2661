"""The options of `check`, `run`, `status` and `logs`."""

import argparse
from pathlib import Path

from pachyderm.pachctl import add_timeout
from pachyderm.roots import ROOT, add_root
from runtime import command
from runtime.command import positive


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
        "--dry-run", action="store_true", help="only show which pipelines would run, and how many datums"
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
