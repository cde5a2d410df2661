"""What a command line is parsed into has the types that it declares; mypy sees nothing of what argparse does."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from stages.loading import options as load

# Command lines in which every option has at least two values.
LOAD = (
    "in out",
    "other passed --schema s --table t --question-column q --context-column c --prefix p_ --columns n:int --migrate "
    "--on-conflict keep --on-bad-row skip --plain-names --dry-run --retry-for 1 --batch-datums --log-format json "
    "--prune --listing listing.json --clock-margin 2 --prune-all",
    "in out --pass-on-digests",
)


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type as it is declared; a truth value is no number."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inside
    if origin is UnionType:
        return any(fits(value, one) for one in inside)
    if origin in (list, tuple):
        return isinstance(value, origin) and all(fits(item, inside[0]) for item in value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


@pytest.mark.parametrize(("arguments", "lines"), [(load.arguments, LOAD)])
def test_options_have_the_types_that_they_declare(
    arguments: Callable[[Sequence[str]], Any], lines: Sequence[str]
) -> None:
    parsed = [arguments(line.split()) for line in lines]
    hints = get_type_hints(type(parsed[0]))
    for field in fields(parsed[0]):
        values = [getattr(options, field.name) for options in parsed]
        assert [value for value in values if not fits(value, hints[field.name])] == [], field.name
        assert any(value != values[0] for value in values), f"{field.name}: no command line here gives it"
