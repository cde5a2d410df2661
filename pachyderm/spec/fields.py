"""How a spec's JSON is written: the spellings that Pachyderm takes, and the one of them that is meant to be used.

The server takes field names in snake_case and numbers as text too. They are read, and called legal but unwise.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pachyderm.spec.inputs import Time
from pachyderm.spec.model import Seconds, Spec, Uint
from runtime.typed_json import Dialect, Problem, Scalar, Spelling, abbreviate, read

_SECONDS = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)s")
# A number of JSON, which is also read if it stands in a text.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_LARGEST = 3.4028234663852886e38
_LONGEST = 315_576_000_000
_TIME = re.compile(r"(?a)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
# What 1.x had under other names; the server only says that it does not know them.
_MOVED = {"chunkSpec": "datumSetSpec", "standby": "autoscaling", "resourceRequest": "resourceRequests"}
# Fields of the request that are no part of a spec.
_REQUEST = {
    "update": "pachctl update pipeline",
    "reprocess": "pachctl update pipeline --reprocess",
    "dryRun": "pachctl update pipeline --dry-run",
    "specCommit": "pachctl update pipeline",
}


def read_spec(raw: Mapping[str, Any]) -> tuple[Spec, list[Problem]]:
    """The spec as the server keeps it, without the fields that do not fit, and what is wrong with those."""
    spec, problems = read(Spec, raw, _DIALECT)
    spec = spec or Spec()
    return replace(spec, input=spec.input and spec.input.of(spec.pipeline.name)), problems


def _text(raw: Any) -> Scalar:
    return Scalar(raw) if isinstance(raw, str) else _misfit("text", raw)


def _flag(raw: Any) -> Scalar:
    return Scalar(raw) if isinstance(raw, bool) else _misfit("true or false", raw)


def _whole(raw: Any, spoken: str = "a whole number", lowest: int = -(2**63), highest: int = 2**63 - 1) -> Scalar:
    if isinstance(raw, str) and _NUMBER.fullmatch(raw) and lowest <= Decimal(raw) <= highest:
        number = _whole(float(raw) if Decimal(raw) % 1 else int(Decimal(raw)), spoken, lowest, highest)
        return number if number.reason else Scalar(number.value, f"it is text; write {number.value}", is_legal=True)
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    fits = isinstance(raw, int) and not isinstance(raw, bool) and lowest <= raw <= highest
    return Scalar(raw) if fits else _misfit(spoken, raw)


def _from_zero(raw: Any) -> Scalar:
    return _whole(raw, "a whole number from 0", 0, 2**64 - 1)


def _number(raw: Any) -> Scalar:
    """What a float of 32 bits holds. NaN as text is legal to Pachyderm, and no quantity to Kubernetes."""
    if isinstance(raw, str) and _NUMBER.fullmatch(raw) and abs(Decimal(raw)) <= _LARGEST:
        return Scalar(float(raw), f"it is text; write {raw}", is_legal=True)
    fits = isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) <= _LARGEST
    return Scalar(raw) if fits else _misfit("a number", raw)


def _seconds(raw: Any) -> Scalar:
    """What protobuf takes: no finer than a nanosecond, no longer than 10,000 years."""
    if isinstance(raw, str) and _SECONDS.fullmatch(raw):
        whole, _, fraction = raw[:-1].partition(".")
        if len(fraction) <= 9 and int(whole or 0) <= _LONGEST:
            return Scalar(float(raw[:-1]))
    return _misfit('seconds as text, such as "3600s"', raw)


def _time(raw: Any) -> Scalar:
    fits = isinstance(raw, str) and _TIME.fullmatch(raw)
    return Scalar(raw) if fits else _misfit('a time as text, such as "2026-01-31T06:00:00Z"', raw)


def _misfit(wanted: str, raw: Any) -> Scalar:
    return Scalar(reason=f"must be {wanted}, not {abbreviate(raw)}")


def camel(name: str) -> str:
    """`datumTries` for `datum_tries`."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _unknown(name: str, known: Mapping[str, str]) -> Spelling:
    if camel(name) in known:
        return Spelling(camel(name), f"write {camel(name)}", is_legal=True)
    if "pipeline" in known and camel(name) in _REQUEST:
        return Spelling(None, f"not part of a spec: {_REQUEST[camel(name)]} sets it", is_legal=True)
    by_lower = {field.lower(): field for field in known}
    near = difflib.get_close_matches(camel(name).lower(), by_lower, 1)
    wanted = _MOVED.get(camel(name)) or (by_lower[near[0]] if near else "")
    return Spelling(
        None, f"is not a field; write {wanted}" if wanted else f"is not a field; there are {', '.join(known)}"
    )


_SCALARS = {str: _text, bool: _flag, int: _whole, Uint: _from_zero, float: _number, Seconds: _seconds, Time: _time}
_DIALECT = Dialect(_SCALARS, camel, _unknown, null_is_absent=True)
