"""Many values in one statement, as arrays: a literal for each value costs the client more than all else about it."""

from collections.abc import Iterable

from psycopg import sql


def texts(values: Iterable[str]) -> sql.Composed:
    """An array of text. None of its elements is null: where `array_nulls` is off, that is a word."""
    # As one text: psycopg takes four times as long for a list.
    quoted = ",".join(f'"{_escape(value)}"' for value in values)
    return sql.SQL("{}::pg_catalog.text[]").format(sql.Literal(f"{{{quoted}}}"))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def integers(values: Iterable[int]) -> sql.Composed:
    """An array of bigint."""
    # As text: the type to which a list of numbers is cast would not be named with its schema.
    numbers = ",".join(map(str, values))
    return sql.SQL("{}::pg_catalog.int8[]").format(sql.Literal(f"{{{numbers}}}"))


def rows_from(*arrays: sql.Composable) -> sql.Composed:
    """What `from` takes: the arrays beside each other, a row for each place."""
    return sql.SQL("rows from ({})").format(sql.SQL(", ").join(map(sql.SQL("pg_catalog.unnest({})").format, arrays)))
