"""Which fields a Pachyderm 2.12 pipeline spec may have, and of which JSON type.

The server refuses a field it does not know, and so does this. Spelled in camelCase, numbers as numbers: the older
spellings still work there, but one spelling is enough.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any

# A kind is a scalar, a message's name, or [kind] for a list and {kind} for a map with text keys.
MESSAGES: dict[str, dict[str, str]] = {
    "Spec": {
        "pipeline": "Pipeline",
        "description": "str",
        "transform": "Transform",
        "parallelismSpec": "Parallelism",
        "input": "Input",
        "resourceRequests": "Resources",
        "resourceLimits": "Resources",
        "sidecarResourceRequests": "Resources",
        "sidecarResourceLimits": "Resources",
        "datumSetSpec": "DatumSet",
        "datumTimeout": "seconds",
        "jobTimeout": "seconds",
        "datumTries": "int",
        "autoscaling": "bool",
        "reprocessSpec": "str",
        "outputBranch": "str",
        "egress": "Egress",
        "s3Out": "bool",
        "service": "Service",
        "spout": "Spout",
        "schedulingSpec": "Scheduling",
        "tolerations": "[Toleration]",
        "podSpec": "str",
        "podPatch": "str",
        "metadata": "Metadata",
        "salt": "str",
        "determined": "Determined",
        "maximumExpectedUptime": "seconds",
        "tfJob": "TfJob",
    },
    "Pipeline": {"project": "Project", "name": "str"},
    "Project": {"name": "str"},
    "Transform": {
        "image": "str",
        "cmd": "[str]",
        "stdin": "[str]",
        "errCmd": "[str]",
        "errStdin": "[str]",
        "acceptReturnCode": "[int]",
        "env": "{str}",
        "secrets": "[Secret]",
        "imagePullSecrets": "[str]",
        "workingDir": "str",
        "user": "str",
        "memoryVolume": "bool",
        "datumBatching": "bool",
        "debug": "bool",
        "dockerfile": "str",
    },
    "Secret": {"name": "str", "key": "str", "mountPath": "str", "envVar": "str"},
    "Parallelism": {"constant": "uint"},
    "Input": {
        "pfs": "Pfs",
        "cross": "[Input]",
        "join": "[Input]",
        "group": "[Input]",
        "union": "[Input]",
        "cron": "Cron",
    },
    "Pfs": {
        "project": "str",
        "name": "str",
        "repo": "str",
        "repoType": "str",
        "branch": "str",
        "commit": "str",
        "glob": "str",
        "joinOn": "str",
        "outerJoin": "bool",
        "groupBy": "str",
        "lazy": "bool",
        "emptyFiles": "bool",
        "s3": "bool",
        "trigger": "Trigger",
        "propagationSpec": "Propagation",
        "reference": "bool",
    },
    "Trigger": {
        "branch": "str",
        "all": "bool",
        "rateLimitSpec": "str",
        "size": "str",
        "commits": "int",
        "cronSpec": "str",
    },
    "Propagation": {"never": "bool"},
    "Cron": {
        "name": "str",
        "project": "str",
        "repo": "str",
        "commit": "str",
        "spec": "str",
        "overwrite": "bool",
        "start": "time",
    },
    "Resources": {"cpu": "number", "memory": "str", "disk": "str", "gpu": "Gpu"},
    "Gpu": {"type": "str", "number": "int"},
    "DatumSet": {"number": "int", "sizeBytes": "int", "perWorker": "int"},
    "Egress": {"URL": "str", "objectStorage": "ObjectStorage", "sqlDatabase": "SqlDatabase"},
    "ObjectStorage": {"url": "str"},
    "SqlDatabase": {"url": "str", "fileFormat": "FileFormat", "secret": "SqlSecret"},
    "FileFormat": {"type": "str", "columns": "[str]"},
    "SqlSecret": {"name": "str", "key": "str"},
    "Service": {"internalPort": "int", "externalPort": "int", "ip": "str", "type": "str"},
    "Spout": {"service": "Service"},
    "Scheduling": {"nodeSelector": "{str}", "priorityClassName": "str"},
    "Toleration": {"key": "str", "operator": "str", "value": "str", "effect": "str", "tolerationSeconds": "int"},
    "Metadata": {"annotations": "{str}", "labels": "{str}"},
    "Determined": {"workspaces": "[str]"},
    "TfJob": {"tfJob": "str"},
}
_SPOKEN = {
    "str": "text",
    "bool": "true or false",
    "int": "a whole number",
    "uint": "a whole number from 0",
    "number": "a number",
    "seconds": 'seconds as text, such as "3600s"',
    "time": 'a time as text, such as "2026-01-31T06:00:00Z"',
}
_SECONDS = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)s")
_LONGEST = 315_576_000_000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
# What 1.x had under other names; the server only says that it does not know them.
_MOVED = {
    "chunkSpec": "datumSetSpec",
    "standby": "autoscaling",
    "resourceRequest": "resourceRequests",
    "update": "pachctl update pipeline",
    "reprocess": "pachctl update pipeline --reprocess",
}

Problem = tuple[str, str]


def field_problems(value: Any, kind: str = "Spec", path: str = "") -> Iterator[Problem]:
    """Every unknown field and wrong type below `value`, as (path, what is wrong). null is allowed: it unsets."""
    if value is None:
        return
    if kind in MESSAGES:
        yield from _message(value, kind, path)
    elif kind.startswith(("[", "{")):
        yield from _many(value, kind[1:-1], path, list if kind.startswith("[") else dict)
    elif not _is(value, kind):
        yield path, f"must be {_SPOKEN[kind]}, not {_shown(value)}"


def seconds(text: str) -> float:
    """The number of seconds in `"90s"`."""
    return float(text[:-1])


def _many(value: Any, kind: str, path: str, container: type) -> Iterator[Problem]:
    if not isinstance(value, container):
        yield path, f"must be {'a list' if container is list else 'an object'}, not {_shown(value)}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if item is None:
                yield f"{path}[{index}]", "must not be null"
            yield from field_problems(item, kind, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from field_problems(item, kind, f"{path}.{name}")


def _message(value: Any, kind: str, path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield path, f"must be an object, not {_shown(value)}"
        return
    fields = MESSAGES[kind]
    for name, item in value.items():
        inner = f"{path}.{name}".removeprefix(".")
        if name in fields:
            yield from field_problems(item, fields[name], inner)
        else:
            yield inner, f"is not a field{_hint(name, fields)}"


def _hint(name: str, fields: dict[str, str]) -> str:
    camel = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
    by_lower = {field.lower(): field for field in fields}
    near = difflib.get_close_matches(camel.lower(), by_lower, 1)
    wanted = _MOVED.get(camel) or (by_lower[near[0]] if near else "")
    return f"; write {wanted}" if wanted else f"; there are {', '.join(fields)}"


def _is(value: Any, kind: str) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    checks = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": whole,
        "uint": whole and value >= 0,
        "number": whole or isinstance(value, float),
        "seconds": isinstance(value, str) and _is_duration(value),
        "time": isinstance(value, str) and bool(_TIME.fullmatch(value)),
    }
    return checks[kind]


def _is_duration(text: str) -> bool:
    """Whether protobuf takes it: no finer than a nanosecond, no longer than 10,000 years."""
    fraction = text.removesuffix("s").partition(".")[2]
    return bool(_SECONDS.fullmatch(text)) and len(fraction) <= 9 and seconds(text) <= _LONGEST


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
