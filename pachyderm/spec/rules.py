"""What the server demands of specs when pipelines are created, and what only shows once they run.

`check` needs no cluster. It is stricter than the server where the server lets through what then fails in every datum,
never ends or gives a secret away; those rules are marked "ours".
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pachyderm.errors import PachydermError
from pachyderm.spec.fields import Problem, field_problems
from pachyderm.spec.input_rules import VARIABLE, input_problems, name_problems
from pachyderm.spec.kubernetes import QUANTITY, pod_problems
from pachyderm.spec.reading import Spec, effective, in_order, leaves, repos_read

# A pipeline's pods are named project-pipeline-v99, and a Kubernetes label holds 63 characters.
_LONGEST_POD = 63
_EFFECTS = ("ALL_EFFECTS", "NO_SCHEDULE", "PREFER_NO_SCHEDULE", "NO_EXECUTE")
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
# A tag that is moved is not pulled again: nodes keep the image that they have.
_MOVING = ("latest", "main", "master", "dev", "edge", "nightly", "stable")


def check(specs: Mapping[str, Spec], repos: Collection[str] = ()) -> list[str]:
    """What is wrong with specs that are to run together, one line each: file, path, reason. Empty if nothing is.

    `repos` are those that exist and that no pipeline writes.
    """
    lines: list[str] = []
    for where, spec in specs.items():
        found = list(field_problems(spec))
        # The other rules may rely on types.
        found = found or list(_spec_problems(effective(spec)))
        lines += [f"{where}: {path}: {reason}" if path else f"{where}: {reason}" for path, reason in found]
    return lines or list(_joint_problems(specs, repos))


def _spec_problems(spec: Spec) -> Iterator[Problem]:
    if "transform" not in spec:
        yield "transform", "missing"
        return
    for rule in (_names, _transform, _secrets, _environment, input_problems, _running, _other, _services, pod_problems):
        yield from rule(spec)


def _names(spec: Spec) -> Iterator[Problem]:
    name = spec.get("pipeline", {}).get("name", "")
    project = spec.get("pipeline", {}).get("project", {}).get("name", "default")
    yield from name_problems("pipeline.name", name)
    yield from name_problems("pipeline.project.name", project)
    pod = f"{project}-{name}-v99".replace("_", "-")
    if len(pod) > _LONGEST_POD:
        yield "pipeline.name", f"too long with its project: {pod} has {len(pod)} characters, {_LONGEST_POD} fit"
    yield from name_problems("outputBranch", spec.get("outputBranch", "master"))


def _transform(spec: Spec) -> Iterator[Problem]:
    transform = spec["transform"]
    yield from _image(transform["image"]) if "image" in transform else [("transform.image", "missing")]
    if not transform.get("cmd") or not transform["cmd"][0]:  # ours: the server finds out datum by datum
        yield "transform.cmd", "missing; the image's ENTRYPOINT is not used"
    if transform.get("errStdin") and not transform.get("errCmd"):
        yield "transform.errStdin", "nothing reads it without errCmd"
    if not transform.get("workingDir", "/").startswith("/"):
        yield "transform.workingDir", "must be an absolute path"
    for index, code in enumerate(transform.get("acceptReturnCode", [])):
        if not 0 <= code <= 255:
            yield f"transform.acceptReturnCode[{index}]", f"{code} is no exit code: 0 to 255"


def _image(image: str) -> Iterator[Problem]:
    """Ours: a tag that stands for one image for ever."""
    if "@sha256:" in image:
        return
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if not tag:
        yield "transform.image", f"{image!r} has no tag; write one that never moves, such as {image or 'name'}:1.0.0"
    elif tag in _MOVING:
        yield "transform.image", f"the tag {tag} moves, and nodes keep what they pulled; write a version"


def _secrets(spec: Spec) -> Iterator[Problem]:
    seen: set[str] = set()
    mounts: set[str] = set()
    for index, secret in enumerate(spec["transform"].get("secrets", [])):
        path = f"transform.secrets[{index}]"
        if not secret.get("name"):
            yield f"{path}.name", "missing"
        if secret.get("envVar") and not secret.get("key"):
            yield f"{path}.key", "missing: envVar holds the value of one key"
        mount = secret.get("mountPath", "")
        if not mount and not secret.get("envVar"):
            yield path, "neither mountPath nor envVar, so nobody can read it"
        if not mount:
            continue
        if not mount.startswith("/") or mount == "/pfs" or mount.startswith("/pfs/"):
            yield f"{path}.mountPath", f"{mount!r} must be an absolute path outside /pfs"
        if secret.get("name") in seen:  # ours: two volumes of one name, and no pod starts
            yield f"{path}.name", f"{secret['name']} is mounted twice"
        if mount in mounts:
            yield f"{path}.mountPath", f"two secrets at {mount}"
        seen.add(secret.get("name", ""))
        mounts.add(mount)


def _environment(spec: Spec) -> Iterator[Problem]:
    transform = spec["transform"]
    places = [(f"transform.env.{name}", name) for name in transform.get("env", {})]
    for index, secret in enumerate(transform.get("secrets", [])):
        if secret.get("envVar"):
            places.append((f"transform.secrets[{index}].envVar", secret["envVar"]))
            if re.search("PASSWORD|TOKEN|KEY|SECRET", secret["envVar"].upper()):
                # ours: what is in the environment is written to /pfs/.env and kept in the pipeline's meta repo.
                yield places[-1][0], "the environment is stored with every datum; mount the secret as files"
    for path, name in places:
        if not VARIABLE.fullmatch(name):
            yield path, f"{name!r} is no name of a variable"
        elif name.startswith("POSTGRES_"):
            yield path, "Pachyderm sets POSTGRES_* to its own database; use libpq's PG* names"
        elif name.startswith(("PACH_", "PPS_")):
            yield path, "Pachyderm sets PACH_* and PPS_* itself"


def _running(spec: Spec) -> Iterator[Problem]:
    sets = spec.get("datumSetSpec")
    if sets is not None:
        if not any(sets.values()):  # ours: the worker divides by perWorker
            yield "datumSetSpec", "must hold a number above 0; an empty one divides by zero in the worker"
        for name, value in sets.items():
            if value < 0:
                yield f"datumSetSpec.{name}", "must be above 0"
    elif spec["transform"].get("datumBatching"):
        # ours: the default of four sets per worker starts the process once per datum for up to four datums.
        yield "datumSetSpec", 'missing with datumBatching; write {"perWorker": 1}'
    if spec.get("datumTries", 1) < 1:
        yield "datumTries", "must be at least 1"
    if spec.get("reprocessSpec", "every_job") not in ("until_success", "every_job"):
        yield "reprocessSpec", 'must be "until_success" or "every_job"'
    if spec.get("maximumExpectedUptime") and not spec.get("autoscaling"):
        yield "maximumExpectedUptime", "only with autoscaling"
    if spec.get("s3Out") and spec["transform"].get("datumBatching"):
        yield "s3Out", "not together with datumBatching"
    yield from _resources(spec)


def _resources(spec: Spec) -> Iterator[Problem]:
    for field in ("resourceRequests", "resourceLimits", "sidecarResourceRequests", "sidecarResourceLimits"):
        resources = spec.get(field, {})
        for name in ("memory", "disk"):
            if name in resources and not QUANTITY.fullmatch(resources[name]):
                yield f"{field}.{name}", f"{resources[name]!r} is no quantity; write one such as 2Gi"
        if resources.get("cpu", 0) < 0:
            yield f"{field}.cpu", "must not be negative"


def _other(spec: Spec) -> Iterator[Problem]:
    for field, kind in (("podPatch", list), ("podSpec", dict)):
        if field in spec:
            try:
                content = json.loads(spec[field])
            except ValueError as error:
                yield field, f"must be JSON in a text: {error}"
                continue
            if not isinstance(content, kind):
                yield field, f"must be JSON of {'a list' if kind is list else 'an object'} in a text"
    for index, toleration in enumerate(spec.get("tolerations", [])):
        if toleration.get("operator") not in ("EXISTS", "EQUAL"):
            yield f"tolerations[{index}].operator", "must be EXISTS or EQUAL"
        if toleration.get("effect", "ALL_EFFECTS") not in _EFFECTS:
            yield f"tolerations[{index}].effect", f"must be one of {', '.join(_EFFECTS)}"
    if "egress" in spec:
        yield from _egress(spec["egress"])
    if "tfJob" in spec:
        yield "tfJob", "not supported by Pachyderm any more"


def _services(spec: Spec) -> Iterator[Problem]:
    if (kind := spec.get("service", {}).get("type")) and kind not in _SERVICE_TYPES:
        yield "service.type", f"must be one of {', '.join(_SERVICE_TYPES)}"
    if "service" in spec and (spec.get("parallelismSpec", {}).get("constant") or 1) != 1:
        yield "parallelismSpec.constant", "must be 1 with service"
    if "spout" in spec and spec.get("autoscaling"):
        yield "autoscaling", "not together with spout"


def _egress(egress: Mapping[str, Any]) -> Iterator[Problem]:
    targets = [name for name in ("URL", "objectStorage", "sqlDatabase") if egress.get(name)]
    if len(targets) != 1:
        yield "egress", "needs exactly one of URL, objectStorage, sqlDatabase"
    if database := egress.get("sqlDatabase"):
        for field in ("name", "key"):
            if not database.get("secret", {}).get(field):
                yield f"egress.sqlDatabase.secret.{field}", "missing"
        if database.get("fileFormat", {}).get("type") not in ("CSV", "JSON"):
            yield "egress.sqlDatabase.fileFormat.type", "must be CSV or JSON"


def _joint_problems(specs: Mapping[str, Spec], repos: Collection[str]) -> Iterator[str]:
    """What is wrong between specs: names given twice, repos that nobody writes, circles."""
    owners: dict[str, str] = {}
    reads: dict[str, list[str]] = {}
    for where, raw in specs.items():
        spec = effective(raw)
        name = spec["pipeline"]["name"]
        if name in owners:
            yield f"{where}: pipeline.name: {name} is in {owners[name]} already"
        if name in repos:
            yield f"{where}: pipeline.name: a repo {name} exists already"
        owners[name] = where
        reads[name] = repos_read(spec["input"])
        ticks = {leaf["repo"] for kind, leaf in leaves(spec["input"]) if kind == "cron"}
        reads[name] = [repo for repo in reads[name] if repo not in ticks]
    for name, wanted in reads.items():
        for repo in wanted:
            if repo == name:
                yield f"{owners[name]}: input: {name} reads its own output"
            elif repo not in reads and repo not in repos:
                yield f"{owners[name]}: input: nothing writes the repo {repo}; create it, or correct the name"
    try:
        in_order({name: [repo for repo in wanted if repo != name] for name, wanted in reads.items()})
    except PachydermError as error:
        yield str(error)
