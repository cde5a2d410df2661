"""Puts the pipelines on a cluster. Needs only `pachctl` and Python.

Each step asks whether the thing exists, and creates or updates it, so a deployment can be repeated, and continued after
a failure. An unchanged pipeline is left alone, because any update kills its jobs. Secrets and specs go to pachctl's
stdin; nothing secret is printed, put on a command line or written to disk.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pachyderm.applying import apply
from pachyderm.credentials import filled_secrets
from pachyderm.errors import PachydermError
from pachyderm.options import DEPLOY_VERBS, DeployOptions, deploy_arguments
from pachyderm.pachctl import Pachctl
from pachyderm.spec.fields import read_spec
from pachyderm.spec.model import Project, Spec
from pachyderm.spec.reading import fill_in, read_specs, spec_files
from pachyderm.spec.rules import check
from pachyderm.steps import Step, deploy_steps, plan, secret_step, undeploy_steps
from runtime import command
from runtime.os_errors import describe

_PAUSE = 2.0


def stamp(image: str, folder: Path) -> None:
    """Writes the shipped specs, on this image, under their own names. Raises SpecError for an image that can move."""
    specs = {where: fill_in(spec, image=image) for where, spec in read_specs(spec_files([])).items()}
    check(specs).enforce(strict=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, spec in specs.items():
            (folder / name).write_text(json.dumps(spec, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        named = OSError(error.errno, error.strerror, error.filename or str(folder))
        raise PachydermError(describe(named)) from error


def deploy(steps: Sequence[Step], options: DeployOptions, pachctl: Pachctl) -> None:
    """Takes the steps, from the source down. Raises PachydermError before an update would kill a running job."""
    for step in steps:
        if step.spec is None:
            apply(step, pachctl)
    changed = [step for step in steps if step.spec is not None and not _is_equal(step, pachctl)]
    if not options.now:
        _check_jobs([step.probe[2] for step in changed], pachctl, wait=options.wait)
    for step in changed:
        apply(step, pachctl)
    if changed and not options.no_wait:
        # An update makes a job, of older inputs than those of a tick that follows.
        _wait_for_jobs([step.probe[2] for step in steps if step.spec is not None], pachctl)


def _is_equal(step: Step, pachctl: Pachctl) -> bool:
    """Whether the cluster has an equal pipeline, and no datum is to be processed again."""
    name, theirs = step.probe[2], pachctl.spec(step.probe[2])
    if not theirs or step.spec is None or "--reprocess" in step.present[0]:
        return False
    if unknown := _unknown(theirs):
        logging.info("pipeline %s has fields that its spec here lacks, and is set back: %s", name, ", ".join(unknown))
        return False
    if _comparable(theirs) != _comparable(step.spec):
        return False
    logging.info("pipeline %s is unchanged; left alone", name)
    return True


def _unknown(theirs: Mapping[str, Any]) -> list[str]:
    """Fields that somebody has set and that only a newer server may know: ignoring them would call unequal specs equal.

    Ours cannot have such fields: the check refuses them.
    """
    _, problems = read_spec(_without_empty(theirs))
    return [problem.path for problem in problems if not problem.is_legal]


def _without_empty(value: Any) -> Any:
    """The value without the fields that a server takes for absent."""
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if isinstance(value, dict):
        fields = {name: _without_empty(item) for name, item in value.items()}
        return {name: item for name, item in fields.items() if item}
    return value


def _comparable(raw: Mapping[str, Any]) -> Spec:
    """The spec without its salt, which the server keeps from the first creation on, and without its project.

    pachctl fills in the project of its context, and looks the pipeline up there.
    """
    spec, _ = read_spec(raw)
    return replace(spec, salt="", pipeline=replace(spec.pipeline, project=Project()))


def _check_jobs(names: Sequence[str], pachctl: Pachctl, *, wait: bool) -> None:
    """Raises PachydermError if pipelines that would change have jobs, or waits until they have none."""
    there = [name for name in names if pachctl.exists(("inspect", "pipeline", name))]
    if wait:
        _wait_for_jobs(there, pachctl)
    elif running := _unfinished_jobs(there, pachctl):
        raise PachydermError(
            f"an update would kill running jobs: {', '.join(running)}; --wait waits for them, --now kills them"
        )


def _wait_for_jobs(names: Sequence[str], pachctl: Pachctl) -> None:
    logged: list[str] = []
    while running := _unfinished_jobs(names, pachctl):
        if running != logged:
            logging.info("waiting for %s", ", ".join(running))
            logged = running
        time.sleep(_PAUSE)


def _unfinished_jobs(names: Sequence[str], pachctl: Pachctl) -> list[str]:
    return [f"{name}@{job}" for name in names for job in pachctl.unfinished_jobs(name)]


def steps(options: DeployOptions) -> Iterator[Step]:
    """The steps that a verb takes."""
    if options.verb == "undeploy":
        return undeploy_steps(with_secrets=options.with_secrets)
    if options.verb == "secrets":
        if not (filled := filled_secrets(os.environ, options.bucket_key)):
            raise PachydermError(
                "no secret to set; give --bucket-key key.json (to make: BUCKET_KEY=key.json), or set PGHOST, PGUSER, …"
            )
        return iter([secret_step(name, files) for name, files in filled.items()])
    return deploy_steps(options, filled_secrets(os.environ, options.bucket_key))


def work(options: DeployOptions) -> int:
    """Does what the verb says. Returns the exit code."""
    if options.verb == "stamp" and options.output:
        stamp(options.image, options.output)
    elif options.verb == "plan":
        sys.stdout.writelines(f"{line}\n" for step in steps(options) for line in plan(step))
    elif options.verb == "deploy":
        deploy(list(steps(options)), options, Pachctl(options.rpc_timeout))
    else:
        for step in steps(options):
            apply(step, Pachctl(options.rpc_timeout))
    return command.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb, which is the first word. Returns the exit code."""
    verb, *rest = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if verb in DEPLOY_VERBS:
        return command.run(verb, work, deploy_arguments(verb, rest))
    asked = verb in ("-h", "--help")
    (sys.stdout if asked else sys.stderr).write(command.verbs("answermill", DEPLOY_VERBS))
    return command.DONE if asked else command.USAGE


if __name__ == "__main__":
    sys.exit(main())
