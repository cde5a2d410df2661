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

from pachyderm import options
from pachyderm.errors import PachydermError
from pachyderm.roots import last_root
from runtime import command
from runtime.command import DONE, FAILED, USAGE
from runtime.logs import printable

if TYPE_CHECKING:
    from pachyderm.local.runner import Options


class Verb(NamedTuple):
    """A command: what it does, in a line, its options, and its work, which gives the exit code."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    work: Callable[[argparse.Namespace], int]


def environment(given: Sequence[str]) -> dict[str, str | None]:
    """Variables from `NAME=VALUE` and `NAME`; `NAME=` and a NAME that the shell lacks unset one."""
    pairs = (text.partition("=") for text in given)
    return {name: (value if equals else os.environ.get(name)) or None for name, equals, value in pairs}


def options_of(given: argparse.Namespace) -> "Options":
    """The runner's options. Raises PachydermError."""
    from pachyderm.local.runner import Options
    from pachyderm.local.worker.mapping import LocalMapping
    from pachyderm.spec.reading import fill_in, read_specs, spec_files

    specs = read_specs(spec_files(given.specs))
    if given.bucket:
        # The stages run in another folder.
        bucket = given.bucket if "://" in given.bucket else str(Path(given.bucket).absolute())
        specs = {where: fill_in(spec, bucket=bucket) for where, spec in specs.items()}
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
    from pachyderm.local.progress import show_progress
    from pachyderm.local.runner import run
    from pachyderm.local.store.journal import SUCCESS

    chosen = options_of(given)
    if given.dry_run:
        plans = plan(chosen)
        _print([json.dumps([asdict(each) for each in plans])] if given.json else status.align(list(table(plans))))
        return DONE
    try:
        with interruptible() as stop, show_progress() as watch:
            done = run(chosen, stop, watch)
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
    from pachyderm.spec.reading import read_specs, spec_files
    from pachyderm.spec.rules import check

    files = spec_files(given.specs)
    findings = check(read_specs(files), given.repo)
    findings.enforce(strict=given.strict)
    if findings.lint:
        logging.info("%d specs: a cluster accepts them; --strict fails for what is named above", len(files))
    else:
        logging.info("%d specs follow all rules", len(files))
    return DONE


def _status(given: argparse.Namespace) -> int:
    from pachyderm import cluster
    from pachyderm.local import status
    from pachyderm.pachctl import Pachctl

    if given.cluster:
        lines, is_well = cluster.status(Pachctl(given.rpc_timeout), given.table, given.patience, as_json=given.json)
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
    "check": Verb("finds what a cluster would refuse in pipeline specs", options.add_check, _check),
    "run": Verb("runs pipeline specs on this machine: does what is due, then ends", options.add_run, _run),
    "status": Verb("shows repos, jobs and datums of a run", options.add_status, _status),
    "logs": Verb("shows what the datums of a pipeline's job wrote to stdout and stderr", options.add_logs, _logs),
}


def usage() -> str:
    """The text of `python -m pachyderm --help`."""
    others = {"why": "shows why jobs failed", **options.DEPLOY_VERBS}
    summaries = {**{name: verb.summary for name, verb in VERBS.items()}, **others}
    return command.verbs("python -m pachyderm", summaries, "VERB --help shows the options of a verb.")


def main(argv: Sequence[str] | None = None) -> int:
    """Hands over to the verb. Returns the exit code."""
    first, *rest = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if first in options.DEPLOY_VERBS:
        given = options.deploy_arguments(first, rest)
        from pachyderm.deploy import work

        return command.run(first, work, given)
    if first == "why":
        from pachyderm import why

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
