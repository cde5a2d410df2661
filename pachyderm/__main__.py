"""`answermill check|run|status|logs`, or `python -m pachyderm VERB`: pipeline specs without a cluster."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pachyderm import deploy, why
from pachyderm.errors import PachydermError
from pachyderm.pachctl import add_timeout
from pachyderm.roots import ROOT, add_root, last_root
from pachyderm.spec.reading import placed, read_specs, spec_files
from pachyderm.spec.rules import check
from runtime import command
from runtime.command import DONE, FAILED, USAGE, positive, printable

if TYPE_CHECKING:
    from pachyderm.local.runner import Options


class Verb(NamedTuple):
    """A command: what it does, in a line, its options, and its work, which gives the exit code."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    work: Callable[[argparse.Namespace], int]


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    _add_specs(parser)
    parser.add_argument(
        "--repo", action="append", default=[], metavar="NAME", help="name of a repo that already exists"
    )
    parser.add_argument("--strict", action="store_true", help="also fail for what is legal but unwise")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
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
        help="most workers at the same time; default: as many as the CPUs allow",
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


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="show the jobs and datums of this pipeline")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    cluster = parser.add_argument_group("on a cluster", "for cron and probes: exit code 1 if something is stuck")
    cluster.add_argument("--cluster", action="store_true", help="ask pachctl, and the database that DATABASE_URL names")
    cluster.add_argument(
        "--patience",
        type=positive,
        default=10_800,
        metavar="SECONDS",
        help="longest time that a job may wait, and since the last success",
    )
    cluster.add_argument("--table", default="question_answer", help="the table that load fills")
    add_timeout(cluster)
    parser.add_argument("--html", metavar="FILE", help="write everything to an HTML page instead")
    add_root(parser)


def _logs_arguments(parser: argparse.ArgumentParser) -> None:
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


def environment(given: Sequence[str]) -> dict[str, str | None]:
    """Variables from `NAME=VALUE` and `NAME`; `NAME=` and a NAME that the shell lacks take one away."""
    pairs = (text.partition("=") for text in given)
    return {name: (value if equals else os.environ.get(name)) or None for name, equals, value in pairs}


def options_of(given: argparse.Namespace) -> "Options":
    """The runner's options. Raises PachydermError."""
    from pachyderm.local.runner import Options
    from pachyderm.local.worker.mapping import LocalMapping

    specs = read_specs(spec_files(given.specs))
    if given.bucket:
        # The stages run in another folder.
        bucket = given.bucket if "://" in given.bucket else str(Path(given.bucket).absolute())
        specs = {where: placed(spec, bucket=bucket) for where, spec in specs.items()}
    return Options(
        root=given.root.absolute(),
        specs=specs,
        mapping=LocalMapping(
            paths={"/model": Path("build/model"), **dict(given.map)},
            secrets=given.secrets or given.root / "secrets",
            without=frozenset(given.without_secret),
            environment=environment(given.env),
            real_pfs=given.pfs,
        ),
        repos=dict(given.repo),
        tick=given.tick,
        reprocess=frozenset(given.reprocess),
        workers=given.workers,
    )


def _run(given: argparse.Namespace) -> int:
    from pachyderm.local import status
    from pachyderm.local.interrupt import InterruptedByError, interruptible
    from pachyderm.local.plan import plan, table
    from pachyderm.local.progress import watching
    from pachyderm.local.runner import run
    from pachyderm.local.store.journal import SUCCESS

    options = options_of(given)
    if given.dry_run:
        plans = plan(options)
        _print([json.dumps([asdict(one) for one in plans])] if given.json else status.align(list(table(plans))))
        return DONE
    try:
        with interruptible() as stop, watching() as watch:
            done = run(options, stop, watch)
    except InterruptedByError as interrupt:
        logging.error("%s; run again to go on", interrupt)
        return interrupt.exit_code
    if given.json:
        _print([json.dumps([status.as_data(job) for job in done], ensure_ascii=False)])
    elif not done:
        logging.info("nothing to do: no input has changed and no tick is due; --tick ticks now")
    return DONE if all(job.state == SUCCESS for job in done) else FAILED


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))  # noqa: T201


def _check(given: argparse.Namespace) -> int:
    files = spec_files(given.specs)
    verdict = check(read_specs(files), given.repo)
    verdict.enforce(strict=given.strict)
    if verdict.lint:
        logging.info("%d specs: a cluster accepts them; --strict fails for what is named above", len(files))
    else:
        logging.info("%d specs follow all rules", len(files))
    return DONE


def _status(given: argparse.Namespace) -> int:
    from pachyderm import cluster
    from pachyderm.local import status

    if given.cluster:
        lines, is_well = cluster.status(given)
        _print(lines)
        return DONE if is_well else FAILED
    if given.html:
        raise PachydermError("--html is written by the `answermill` command: answermill status --html FILE")
    view = status.overview(given.root or last_root())
    if given.json:
        _print([json.dumps(view, ensure_ascii=False)])
    else:
        _print(status.details(view, given.pipeline) if given.pipeline else status.table(view))
    return DONE


def _logs(given: argparse.Namespace) -> int:
    from pachyderm.local import status

    _print(status.log_lines(given.root or last_root(), given.pipeline, given.job, given.datum))
    return DONE


VERBS = {
    "check": Verb("finds what a cluster would refuse in pipeline specs", _check_arguments, _check),
    "run": Verb("runs pipeline specs on this machine: does what is due, then ends", _run_arguments, _run),
    "status": Verb("shows repos, jobs and datums of a run", _status_arguments, _status),
    "logs": Verb("shows what the datums of a pipeline's job wrote to stdout and stderr", _logs_arguments, _logs),
}


def usage() -> str:
    """The text of `python -m pachyderm --help`."""
    others = {"why": "shows why jobs failed", **deploy.VERBS}
    summaries = {**{name: verb.summary for name, verb in VERBS.items()}, **others}
    return command.verbs("python -m pachyderm", summaries, "VERB --help shows the options of a verb.")


def main(argv: Sequence[str] | None = None) -> int:
    """Hands over to the verb. Returns the exit code."""
    first, *rest = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if first in deploy.VERBS:
        return deploy.main([first, *rest])
    if first == "why":
        return why.main(rest)
    if first not in VERBS:
        wanted = first in ("-h", "--help")
        (sys.stdout if wanted else sys.stderr).write(f"{usage()}\n")
        return DONE if wanted else USAGE
    verb = VERBS[first]
    ends = ["If it is interrupted, run it again to continue."] if first == "run" else []
    parser = command.parser(first, f"{verb.summary[0].upper()}{verb.summary[1:]}.", *ends)
    verb.add_options(parser)
    return command.run(first, verb.work, parser.parse_args(rest))


if __name__ == "__main__":
    sys.exit(main())
