"""JSON values -> nested frozen dataclasses, by their type hints: so a bundle's manifest and a pipeline's spec are read.

A value that does not fit raises nothing. It is reported with its place, so that all of them can be reported at once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_UNFIT = object()


class Problem(NamedTuple):
    """What is wrong with a value.

    Attributes:
        path: its place, such as `transform.cmd[1]`.
        is_legal: whether it can be read all the same, and only should not be written like this.

    """

    path: str
    reason: str
    is_legal: bool = False


class Scalar(NamedTuple):
    """A scalar that was read; `reason` says why it does not fit its type or, if it is legal, how to write it."""

    value: Any = None
    reason: str = ""
    is_legal: bool = False


class Spelling(NamedTuple):
    """What an unknown name stands for: a field in another spelling, or nothing."""

    name: str | None
    reason: str
    is_legal: bool = False


def _unknown(_name: str, _known: Mapping[str, str]) -> Spelling:
    return Spelling(None, "is not a field")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a kind of document is written.

    Attributes:
        scalars: what reads each scalar type.
        json_name: from the name of an attribute to that of a field.
        unknown: judges a name that is no field's; it is given the attributes by the names of their fields.
        null_is_absent: whether null stands for a field's default; otherwise it fits optional fields only.

    """

    scalars: Mapping[Any, Callable[[Any], Scalar]]
    json_name: Callable[[str], str] = str
    unknown: Callable[[str, Mapping[str, str]], Spelling] = _unknown
    null_is_absent: bool = False


def read(hint: type[T], raw: Any, dialect: Dialect) -> tuple[T | None, list[Problem]]:
    """The object, without what does not fit, and what that was. None if too little fits to make one."""
    reader = _Reader(dialect)
    value = reader.value(hint, raw, "")
    return (None if value is _UNFIT else value), reader.problems


def abbreviate(value: Any) -> str:
    """The value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


class _Reader:
    """Reads one document."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.problems: list[Problem] = []

    def value(self, hint: Any, raw: Any, path: str) -> Any:
        """The value, or _UNFIT."""
        if NoneType in get_args(hint):
            return None if raw is None else self.value(get_args(hint)[0], raw, path)
        if dataclasses.is_dataclass(hint):
            return self._object(hint, raw, path)
        if get_origin(hint) is tuple:
            return self._list(get_args(hint)[0], raw, path)
        if get_origin(hint) is not None:
            return self._map(get_args(hint)[1], raw, path)
        scalar = self._dialect.scalars[hint](raw)
        if scalar.reason:
            self.problems.append(Problem(path, scalar.reason, scalar.is_legal))
        return _UNFIT if scalar.reason and not scalar.is_legal else scalar.value

    def _object(self, cls: Any, raw: Any, path: str) -> Any:
        if not isinstance(raw, Mapping):
            return self._misfit(path, "an object", raw)
        hints = _type_hints(cls)
        names = {self._dialect.json_name(attribute): attribute for attribute in hints}
        values: dict[str, Any] = {}
        for name, item in raw.items():
            where = f"{path}.{name}".removeprefix(".")
            attribute = names.get(name) or self._attribute(name, names, where)
            if attribute in values:
                self.problems.append(Problem(where, "appears twice, in two spellings"))
            elif attribute and not (item is None and self._is_absent(hints[attribute])):
                values[attribute] = self.value(hints[attribute], item, where)
        missing = sorted(_required_fields(cls) - values.keys())
        self.problems += [Problem(f"{path}.{name}".removeprefix("."), "is missing") for name in missing]
        values = {name: value for name, value in values.items() if value is not _UNFIT}
        return cls(**values) if _required_fields(cls) <= values.keys() else _UNFIT

    def _is_absent(self, hint: Any) -> bool:
        """Whether null, for this type, means the default."""
        return self._dialect.null_is_absent and NoneType not in get_args(hint)

    def _attribute(self, name: str, names: Mapping[str, str], where: str) -> str | None:
        spelling = self._dialect.unknown(name, names)
        self.problems.append(Problem(where, spelling.reason, spelling.is_legal))
        return names[spelling.name] if spelling.name else None

    def _list(self, hint: Any, raw: Any, path: str) -> Any:
        if not isinstance(raw, list):
            return self._misfit(path, "a list", raw)
        values = []
        for index, item in enumerate(raw):
            if item is None:
                self.problems.append(Problem(f"{path}[{index}]", "must not be null"))
            else:
                values.append(self.value(hint, item, f"{path}[{index}]"))
        return tuple(value for value in values if value is not _UNFIT)

    def _map(self, hint: Any, raw: Any, path: str) -> Any:
        if not isinstance(raw, Mapping):
            return self._misfit(path, "an object", raw)
        values = {name: self.value(hint, item, f"{path}.{name}") for name, item in raw.items()}
        return {name: value for name, value in values.items() if value is not _UNFIT}

    def _misfit(self, path: str, wanted: str, raw: Any) -> Any:
        self.problems.append(Problem(path, f"must be {wanted}, not {abbreviate(raw)}"))
        return _UNFIT


@lru_cache(64)
def _type_hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _required_fields(cls: Any) -> set[str]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(cls)
    return {field.name for field in fields if field.default is missing and field.default_factory is missing}
