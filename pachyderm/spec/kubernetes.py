"""Kubernetes' own rules for the pods of a pipeline. Pachyderm takes what breaks them, and then no pod starts."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pachyderm.spec.fields import Problem

QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([EPTGMk]|[EPTGMK]i|m|e\d+)?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_POWERS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18, "m": 1e-3}
_BINARY = {f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGTPE", 1)}
# What Pachyderm mounts in the user's container itself.
_MOUNTED = ("/pfs", "/tmp", "/pach-bin", "/pach")  # noqa: S108


def pod_problems(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the labels, secrets and resources of an effective spec."""
    metadata, scheduling = spec.get("metadata", {}), spec.get("schedulingSpec", {})
    yield from _labels("metadata.labels", metadata.get("labels", {}))
    yield from _labels("schedulingSpec.nodeSelector", scheduling.get("nodeSelector", {}))
    for name in metadata.get("annotations", {}):
        yield from _key(f"metadata.annotations.{name}", name)
    for index, secret in enumerate(spec["transform"].get("secrets", [])):
        name = secret.get("name", "")
        if name and not (_SUBDOMAIN.fullmatch(name) and len(name) <= 253):
            yield f"transform.secrets[{index}].name", f"{name!r} is no name of a secret: a-z, 0-9, - and . only"
        mount = secret.get("mountPath", "").rstrip("/")
        if mount in _MOUNTED or mount.startswith(tuple(f"{path}/" for path in _MOUNTED[:1])):
            yield f"transform.secrets[{index}].mountPath", f"Pachyderm mounts {mount} itself; write another path"
    for kind in ("resource", "sidecarResource"):
        yield from _limits(spec, f"{kind}Requests", f"{kind}Limits")


def _limits(spec: Mapping[str, Any], requests: str, limits: str) -> Iterator[Problem]:
    asked, allowed = spec.get(requests, {}), spec.get(limits, {})
    if asked.get("cpu", 0) > allowed.get("cpu", float("inf")):
        yield f"{requests}.cpu", f"more than {limits}.cpu, so no pod is created"
    for name in ("memory", "disk"):
        if name in asked and name in allowed and size(asked[name]) > size(allowed[name]):
            yield f"{requests}.{name}", f"more than {limits}.{name}, so no pod is created"


def size(quantity: str) -> float:
    """The number that a quantity such as 2Gi stands for; 0 for what is none."""
    match = QUANTITY.fullmatch(quantity)
    if match is None:
        return 0.0
    number, unit = match.groups()
    if unit and unit.startswith("e"):
        return float(number + unit)
    return float(number) * ({**_POWERS, **_BINARY}[unit] if unit else 1)


def _labels(path: str, labels: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in labels.items():
        yield from _key(f"{path}.{name}", name)
        if isinstance(value, str) and not (_LABEL.fullmatch(value) and len(value) <= 63):
            yield f"{path}.{name}", f"{value!r} is no value of a label: letters, digits, -, _ and ., 63 at most"


def _key(path: str, name: str) -> Iterator[Problem]:
    prefix, slash, last = name.rpartition("/")
    is_good = bool(last) and _LABEL.fullmatch(last) and len(last) <= 63
    if not is_good or (slash and not (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253)):
        yield path, f"{name!r} is no key of a label: letters, digits, -, _ and ., with a domain and / before it or not"
