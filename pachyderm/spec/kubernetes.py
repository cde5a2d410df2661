"""Kubernetes' own rules for the pods of a pipeline. Pachyderm takes what breaks them, and then no pod starts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from posixpath import normpath

from pachyderm.spec.model import Resources, Secret, Spec
from pachyderm.spec.problems import lint
from runtime.typed_json import Problem

QUANTITY = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([EPTGMk]|[EPTGMK]i|m|u|n|[eE][+-]?[0-9]{1,2})?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_POWERS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_BINARY = {f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGTPE", 1)}
# What Pachyderm mounts in the user's container itself.
_MOUNTED = ("/pfs", "/tmp", "/pach-bin", "/pach")  # noqa: S108


def pod_problems(spec: Spec, secrets: Sequence[Secret]) -> Iterator[Problem]:
    """What is wrong with the labels, secrets and resources of a spec."""
    yield from _labels("metadata.labels", spec.metadata.labels)
    yield from _labels("schedulingSpec.nodeSelector", spec.scheduling_spec.node_selector)
    for name in spec.metadata.annotations:
        yield from _key(f"metadata.annotations.{name}", name)
    yield from _secrets(secrets)
    for kind, requests, limits in (
        ("resource", spec.resource_requests, spec.resource_limits),
        ("sidecarResource", spec.sidecar_resource_requests, spec.sidecar_resource_limits),
    ):
        yield from _resources(f"{kind}Requests", requests)
        yield from _resources(f"{kind}Limits", limits)
        yield from _limits(kind, requests, limits)


def _secrets(secrets: Sequence[Secret]) -> Iterator[Problem]:
    names: set[str] = set()
    mounts: set[str] = set()
    for index, secret in enumerate(secrets):
        path = f"transform.secrets[{index}]"
        if secret.name and not (_SUBDOMAIN.fullmatch(secret.name) and len(secret.name) <= 253):
            yield Problem(f"{path}.name", f"{secret.name!r} is not a valid name of a secret: a-z, 0-9, - and . only")
        if not secret.mount_path:
            continue
        mount = secret.mount_path
        if mount.startswith("/"):
            mount = normpath("/" + mount.lstrip("/"))
        yield from _mount(f"{path}.mountPath", mount)
        if secret.name in names:
            yield Problem(f"{path}.name", f"{secret.name} is mounted twice, and two volumes have one name")
        if mount in mounts:
            yield Problem(f"{path}.mountPath", f"two secrets at {mount}")
        names.add(secret.name)
        mounts.add(mount)


def _mount(path: str, mount: str) -> Iterator[Problem]:
    if mount in _MOUNTED:
        yield Problem(path, f"Pachyderm mounts {mount} itself; write another path")
    elif mount == "/" or ":" in mount:
        yield Problem(path, f"no pod starts with a secret at {mount}; write a path such as /secrets/name")
    elif mount.startswith("/pfs/"):
        yield lint(path, f"{mount} is in /pfs, which the worker clears for each datum; write another path")
    elif not mount.startswith("/"):
        yield lint(path, f"{mount!r} is not an absolute path")


def _resources(path: str, resources: Resources) -> Iterator[Problem]:
    for name, quantity in (("memory", resources.memory), ("disk", resources.disk)):
        if quantity and not QUANTITY.fullmatch(quantity):
            yield Problem(f"{path}.{name}", f"{quantity!r} is not a quantity; write one such as 2Gi")
    if (resources.cpu or 0) < 0:
        yield Problem(f"{path}.cpu", "must not be negative")


def _limits(kind: str, requests: Resources, limits: Resources) -> Iterator[Problem]:
    for name, asked, allowed in (
        ("cpu", requests.cpu, limits.cpu),
        ("memory", size(requests.memory), size(limits.memory)),
        ("disk", size(requests.disk), size(limits.disk)),
    ):
        if asked is not None and allowed is not None and asked > allowed:
            yield Problem(f"{kind}Requests.{name}", f"more than {kind}Limits.{name}, so no pod is created")


def size(quantity: str) -> float | None:
    """The number that a quantity such as 2Gi stands for; None for what is none."""
    match = QUANTITY.fullmatch(quantity)
    if match is None:
        return None
    number, unit = match.groups()
    if unit and unit[0] in "eE" and unit[1:] not in ("", "i"):
        return float(number + unit)
    return float(number) * ({**_POWERS, **_BINARY}[unit] if unit else 1)


def _labels(path: str, labels: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in labels.items():
        yield from _key(f"{path}.{name}", name)
        if not (_LABEL.fullmatch(value) and len(value) <= 63):
            yield Problem(
                f"{path}.{name}", f"{value!r} is not a valid value of a label: letters, digits, -, _ and ., 63 at most"
            )


def _key(path: str, name: str) -> Iterator[Problem]:
    prefix, slash, last = name.rpartition("/")
    is_good = bool(last) and _LABEL.fullmatch(last) and len(last) <= 63
    if not is_good or (slash and not (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253)):
        reason = (
            f"{name!r} is not a valid key of a label: letters, digits, -, _ and ., with a domain and / before it or not"
        )
        yield Problem(path, reason)
