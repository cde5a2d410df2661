"""`python -m pachyderm check|run|status|logs`: pipeline specs without a cluster; deploy and its like are handed on."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pachyderm import deploy, why
from pachyderm.errors import PachydermError, SpecError
from pachyderm.spec.reading import placed, read_specs, spec_files
from pachyderm.spec.rules import check
from runtime.command import DONE, EXIT_CODES, FAILED, describe, positive, printable, start_logging

if TYPE_CHECKING:
    from pachyderm.local.runner import Options

ROOT, DEMO = Path("build/pachyderm"), Path("build/demo")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="answermill",
        description="Pachyderm's pipeline specs without Pachyderm: checks them, and runs them on this machine.",
        epilog=f"why, {', '.join(deploy.VERBS)} are verbs too: VERB --help. {EXIT_CODES} Run again to go on.",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _check_arguments(verbs.add_parser("check", help="what a cluster would refuse, and what would fail on it"))
    _run_arguments(verbs.add_parser("run", help="do what there is to do"))
    shown = verbs.add_parser("status", help="repos, jobs and datums")
    shown.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="show this one's jobs and datums")
    shown.add_argument("--json", action="store_true", help="everything, for machines")
    logs = verbs.add_parser("logs", help="what the datums of a pipeline's job wrote to stdout and stderr")
    logs.add_argument("pipeline", metavar="PIPELINE")
    logs.add_argument("--job", type=int, metavar="NUMBER", help="default: the last one")
    logs.add_argument("--datum", metavar="ID_OR_PATH", help="only this one: the start of its id, or part of its path")
    for verb in (shown, logs):
        verb.add_argument("--root", type=Path, help=f"folder of all state; default: the later used of {ROOT}, {DEMO}")
    return parser.parse_args(argv)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="*", type=Path, metavar="SPEC", help="files, or folders; default: the shipped")
    parser.add_argument("--repo", action="append", default=[], metavar="NAME", help="a repo that exists already")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="*", type=Path, metavar="SPEC", help="files, or folders; default: the shipped")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"folder of all state; default: {ROOT}")
    parser.add_argument("--bucket", metavar="URL", help="what `ingest` reads, in the place of the spec's gs://…")
    parser.add_argument("--tick", action="store_true", help="cron inputs tick now; otherwise when they are due")
    parser.add_argument("--reprocess", action="append", default=[], metavar="PIPELINE", help="skip none of its datums")
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="most at a time; default: what the CPUs leave room for"
    )
    parser.add_argument(
        "--repo",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        type=_pair,
        help="a folder of yours as a repo that no pipeline writes",
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="PATH=FOLDER",
        type=_pair,
        help="a path of the image and the folder that stands for it; default: /model=build/model",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="beats the spec's; without a value this shell's is passed on, and taken away where it has none",
    )
    parser.add_argument("--secrets", type=Path, metavar="FOLDER", help="SECRET/KEY files; default: ROOT/secrets")
    parser.add_argument(
        "--without-secret", action="append", default=[], metavar="NAME", help="not needed here; an empty folder"
    )
    parser.add_argument("--pfs", action="store_true", help="mount the real /pfs instead of replacing it by a folder")
    parser.add_argument("--dry-run", action="store_true", help="only show which pipelines would run, and the datums")
    parser.add_argument("--json", action="store_true", help="print the jobs, or the plan, as JSON")


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
        print(json.dumps([status.as_data(job) for job in done], ensure_ascii=False))  # noqa: T201
    elif not done:
        logging.info("nothing to do: no input has changed and no tick is due; --tick ticks now")
    return DONE if all(job.state == SUCCESS for job in done) else FAILED


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))  # noqa: T201


def _check(given: argparse.Namespace) -> int:
    files = spec_files(given.specs)
    if problems := check(read_specs(files), given.repo):
        raise SpecError(problems)
    logging.info("%d specs keep all rules", len(files))
    return DONE


def last_root(roots: Sequence[Path] = (ROOT, DEMO)) -> Path:
    """The root that a run used last; what follows `make demo` is a look at the demo."""
    used = {root: (root / "lock").stat().st_mtime for root in roots if (root / "lock").exists()}
    return max(used, key=lambda root: used[root], default=roots[0])


def _status(given: argparse.Namespace) -> int:
    from pachyderm.local import status

    view = status.overview(given.root or last_root())
    if given.json:
        print(json.dumps(view, ensure_ascii=False))  # noqa: T201
        return DONE
    for line in status.details(view, given.pipeline) if given.pipeline else status.table(view):
        print(printable(line))  # noqa: T201
    return DONE


def _logs(given: argparse.Namespace) -> int:
    from pachyderm.local import status

    for line in status.log_lines(given.root or last_root(), given.pipeline, given.job, given.datum):
        print(printable(line))  # noqa: T201
    return DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says, and turns what is not its fault into lines on stderr and an exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in deploy.VERBS:
        return deploy.main(words)
    if words[:1] == ["why"]:
        return why.main(words[1:])
    given = arguments(words)
    start_logging("pachyderm")
    try:
        return {"check": _check, "run": _run, "status": _status, "logs": _logs}[given.verb](given)
    except SpecError as error:
        for problem in error.problems:
            logging.error("%s", problem)
        return FAILED
    except PachydermError as error:
        logging.error("%s", error)
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        logging.error("%s", describe(error))
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
