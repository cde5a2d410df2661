"""The rules that specs must follow, and what is legal but unwise. Needs no cluster.

What Pachyderm or Kubernetes refuses is an error. What both accept, although it then fails in every datum, never ends or
gives a secret away, is lint.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.spec.fields import read_spec
from pachyderm.spec.input_rules import VARIABLE, input_problems, name_problems
from pachyderm.spec.inputs import Cron
from pachyderm.spec.kubernetes import pod_problems
from pachyderm.spec.model import Egress, Spec, Transform
from pachyderm.spec.problems import Findings, findings, lint
from pachyderm.spec.reading import in_order
from runtime.typed_json import Problem

# A pipeline's pods are named project-pipeline-v99, and a Kubernetes label holds 63 characters.
_LONGEST_POD = 63
_MOST_LOADERS = 2
_EFFECTS = ("ALL_EFFECTS", "NO_SCHEDULE", "PREFER_NO_SCHEDULE", "NO_EXECUTE")
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")
# A tag that is moved is not pulled again: nodes keep the image that they have.
_MOVING = ("latest", "main", "master", "dev", "edge", "nightly", "stable")


def check(raw_specs: Mapping[str, Mapping[str, Any]], repos: Collection[str] = ()) -> Findings:
    """What is wrong with specs that are to run together.

    `repos` are those that exist and that no pipeline writes.
    """
    specs: dict[str, Spec] = {}
    problems: list[tuple[str, Problem]] = []
    for where, raw in raw_specs.items():
        specs[where], misfits = read_spec(raw)
        problems += [(where, misfit) for misfit in misfits]
        # The rules may rely on types.
        if all(misfit.is_legal for misfit in misfits):
            problems += [(where, problem) for problem in _spec_problems(specs[where])]
    if all(problem.is_legal for _, problem in problems):
        problems += _joint_problems(specs, repos)
    return findings(problems)


def _spec_problems(spec: Spec) -> Iterator[Problem]:
    if spec.transform is None:
        yield Problem("transform", "missing")
        return
    yield from _names(spec)
    for rule in (_transform, _secrets, _environment):
        yield from rule(spec.transform)
    yield from input_problems(spec, spec.transform.env)
    yield from _execution(spec, spec.transform)
    yield from _other(spec)
    yield from _services(spec)
    yield from _loaders(spec)
    yield from pod_problems(spec, spec.transform.secrets)


def _names(spec: Spec) -> Iterator[Problem]:
    name, project = spec.pipeline.name, spec.pipeline.project.name
    yield from name_problems("pipeline.name", name)
    yield from name_problems("pipeline.project.name", project)
    pod = f"{project}-{name}-v99".replace("_", "-")
    if len(pod) > _LONGEST_POD:
        reason = f"too long with its project: {pod} has {len(pod)} characters, {_LONGEST_POD} fit"
        yield Problem("pipeline.name", reason)
    yield from name_problems("outputBranch", spec.output_branch or "master")


def _transform(transform: Transform) -> Iterator[Problem]:
    yield from _image(transform.image)
    if not transform.cmd or not transform.cmd[0]:
        yield lint("transform.cmd", "missing, so every datum fails: Pachyderm does not use the image's ENTRYPOINT")
    if transform.err_stdin and not transform.err_cmd:
        yield lint("transform.errStdin", "nothing reads it without errCmd")
    if not (transform.working_dir or "/").startswith("/"):
        yield lint("transform.workingDir", "not an absolute path; write one")
    for index, code in enumerate(transform.accept_return_code):
        if not 0 <= code <= 255:
            yield lint(f"transform.acceptReturnCode[{index}]", f"{code} is not an exit code; write one from 0 to 255")


def _loaders(spec: Spec) -> Iterator[Problem]:
    """As many jobs are under way as there are workers; tests/stages/test_load_ticks.py shows what three lead to."""
    cmd = spec.transform.cmd if spec.transform else ()
    if "stages.load" in cmd and "--prune" not in cmd and spec.parallelism_spec.constant > _MOST_LOADERS:
        reason = "with more than two workers, an older version of a file may be loaded after a newer one; write 2"
        yield lint("parallelismSpec.constant", reason)


def _image(image: str) -> Iterator[Problem]:
    """A tag should stand for one image for ever."""
    if "@sha256:" in image:
        return
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if not tag:
        reason = f"{image!r} has no tag; write one that never moves, such as {image or 'name'}:1.0.0"
        yield lint("transform.image", reason)
    elif tag in _MOVING:
        yield lint("transform.image", f"the tag {tag} moves, and a node does not pull a tag again; write a version")


def _secrets(transform: Transform) -> Iterator[Problem]:
    for index, secret in enumerate(transform.secrets):
        path = f"transform.secrets[{index}]"
        if not secret.name:
            yield Problem(f"{path}.name", "missing")
        if secret.env_var and not secret.key:
            yield Problem(f"{path}.key", "missing: envVar holds the value of one key")
        if not secret.mount_path and not secret.env_var:
            yield lint(path, "neither mountPath nor envVar, so no stage can read it; write one of them")


def _environment(transform: Transform) -> Iterator[Problem]:
    places = [(f"transform.env.{name}", name) for name in transform.env]
    for index, secret in enumerate(transform.secrets):
        if secret.env_var:
            places.append((f"transform.secrets[{index}].envVar", secret.env_var))
            if re.search("PASSWORD|TOKEN|KEY|SECRET", secret.env_var.upper()):
                # It is written to /pfs/.env and kept in the pipeline's meta repo.
                yield lint(places[-1][0], "the environment is stored with every datum; mount the secret as files")
    for path, name in places:
        if not VARIABLE.fullmatch(name):
            yield lint(path, f"{name!r} is not a name of a variable; write letters, digits and _")
        elif name.startswith("POSTGRES_"):
            yield lint(path, "Pachyderm sets POSTGRES_* to its own database; use libpq's PG* names")
        elif name.startswith(("PACH_", "PPS_")):
            yield lint(path, "Pachyderm sets PACH_* and PPS_* itself; write another name")


def _execution(spec: Spec, transform: Transform) -> Iterator[Problem]:
    yield from _sets(spec, transform)
    if spec.datum_tries == 0:
        yield lint("datumTries", "0 means the default, 3; write the number that is meant")
    elif spec.datum_tries < 0:
        yield lint("datumTries", "with fewer than one try no datum is ever processed; write 1 or more")
    if spec.reprocess_spec not in ("", "until_success", "every_job"):
        yield Problem("reprocessSpec", 'must be "until_success" or "every_job"')
    elif not spec.reprocess_spec:
        yield lint("reprocessSpec", 'an empty text means the default; write "until_success", or leave it out')
    if spec.maximum_expected_uptime and not spec.autoscaling:
        yield Problem("maximumExpectedUptime", "only with autoscaling")
    if spec.s3_out:
        yield lint("s3Out", "with it there is no /pfs/out, and no datum is ever skipped")


def _sets(spec: Spec, transform: Transform) -> Iterator[Problem]:
    sets = spec.datum_set_spec
    if sets is None:
        if transform.datum_batching:
            # The default of four sets per worker starts the process once per datum for up to four datums.
            yield lint("datumSetSpec", 'missing with datumBatching; write {"perWorker": 1}')
        return
    numbers = {"number": sets.number, "sizeBytes": sets.size_bytes, "perWorker": sets.per_worker}
    if not any(numbers.values()):
        yield lint("datumSetSpec", "it holds no number above 0, so the worker would divide by zero")
    for name, number in numbers.items():
        if number < 0:
            yield lint(f"datumSetSpec.{name}", f"{number} is not a size of a set; write one above 0")


def _other(spec: Spec) -> Iterator[Problem]:
    for path, text, kind in (("podPatch", spec.pod_patch, list), ("podSpec", spec.pod_spec, dict)):
        if text:
            try:
                content = json.loads(text)
            except ValueError as error:
                yield Problem(path, f"must be JSON in a text: {error}")
                continue
            if not isinstance(content, kind):
                yield lint(
                    path, f"no pod starts with it; write {'a list' if kind is list else 'an object'} as JSON in a text"
                )
    for index, toleration in enumerate(spec.tolerations):
        if toleration.operator not in ("EXISTS", "EQUAL"):
            yield Problem(f"tolerations[{index}].operator", "must be EXISTS or EQUAL")
        if toleration.effect not in _EFFECTS:
            yield Problem(f"tolerations[{index}].effect", f"must be one of {', '.join(_EFFECTS)}")
    if spec.egress:
        yield from _egress(spec.egress)
    if spec.tf_job:
        yield Problem("tfJob", "not supported by Pachyderm any more")


def _services(spec: Spec) -> Iterator[Problem]:
    for path, service in (("service", spec.service), ("spout.service", spec.spout and spec.spout.service)):
        if service and service.type not in ("", *_SERVICE_TYPES):
            yield Problem(f"{path}.type", f"must be one of {', '.join(_SERVICE_TYPES)}")
    if spec.service and (spec.parallelism_spec.constant or 1) != 1:
        yield Problem("parallelismSpec.constant", "must be 1 with service")
    if spec.spout and spec.autoscaling:
        yield Problem("autoscaling", "not together with spout")
    if spec.spout and not spec.spout.service and spec.input:
        yield Problem("input", "a spout without a service must have none")
    if spec.s3_out and (spec.service or spec.spout):
        yield Problem("s3Out", "not together with service or spout")


def _egress(egress: Egress) -> Iterator[Problem]:
    targets = [target for target in (egress.URL, egress.object_storage, egress.sql_database) if target]
    if len(targets) != 1:
        yield Problem("egress", "needs exactly one of URL, objectStorage, sqlDatabase")
    if database := egress.sql_database:
        for name, value in (("name", database.secret.name), ("key", database.secret.key)):
            if not value:
                yield Problem(f"egress.sqlDatabase.secret.{name}", "missing")
        if database.file_format.type not in ("CSV", "JSON"):
            yield Problem("egress.sqlDatabase.fileFormat.type", "must be CSV or JSON")


def _joint_problems(specs: Mapping[str, Spec], repos: Collection[str]) -> Iterator[tuple[str, Problem]]:
    """What is wrong between specs: names given twice, repos that nobody writes, circles."""
    owners: dict[str, str] = {}
    reads: dict[str, list[str]] = {}
    for where, spec in specs.items():
        name = spec.pipeline.name
        if name in owners:
            yield where, Problem("pipeline.name", f"{name} is in {owners[name]} already")
        if name in repos:
            yield where, Problem("pipeline.name", f"a repo {name} exists already")
        owners[name] = where
        leaves = spec.input.leaves() if spec.input else ()
        reads[name] = [leaf.repo for leaf in leaves if not isinstance(leaf, Cron)]
    for name, wanted in reads.items():
        for repo in wanted:
            if repo == name:
                yield owners[name], Problem("input", f"{name} reads its own output")
            elif repo not in reads and repo not in repos:
                reason = f"nothing writes the repo {repo}; create it, or correct the name"
                yield owners[name], Problem("input", reason)
    try:
        in_order({name: [repo for repo in wanted if repo != name] for name, wanted in reads.items()})
    except PachydermError as error:
        yield "", lint("", str(error))
