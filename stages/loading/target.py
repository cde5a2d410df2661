"""Which table the answers go to, and which column of a CSV to which of its columns."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from runtime.errors import DatabaseError, OptionError
from stages.common.names import utf8
from stages.csvs.columns import ANSWER_COLUMNS

STAMP = "qa_timestamp"
COLUMNS = {
    "file": "text",
    "row": "bigint",
    "question": "text",
    "answer": "text",
    "context": "text",
    "model": "text",
    **{name: kind for name, kind in ANSWER_COLUMNS.items() if name not in ("answer", "model")},
    "extra": "jsonb",
    STAMP: "timestamptz",
}
_TYPE = re.compile(r"[a-z][a-z0-9_ ]*(\(\s*\d+(\s*,\s*\d+)?\s*\))?(\[\])?", re.IGNORECASE)
# Bytes that PostgreSQL keeps of a name; what follows is cut off in silence.
LONGEST_NAME = 63
MEMORY_SUFFIX = "_file"


@dataclass(frozen=True, slots=True)
class Target:
    """The table, and the CSV's names for its columns.

    Attributes:
        schema: None for the first of the search path; `resolve` puts its name here.
        table: name, unquoted.
        names: the CSV's column for each column of the table that has one.
        types: types of the columns that `--columns` adds to the usual ones.

    """

    schema: str | None
    table: str
    names: Mapping[str, str]
    types: Mapping[str, str] = field(default_factory=dict)

    @property
    def identifier(self) -> sql.Identifier:
        """The table as an SQL identifier, quoted as it must be."""
        return sql.Identifier(*filter(None, (self.schema, self.table)))

    @property
    def memory(self) -> sql.Identifier:
        """The table beside it that remembers what was loaded."""
        return sql.Identifier(*filter(None, (self.schema, f"{self.table}{MEMORY_SUFFIX}")))

    @property
    def required(self) -> list[str]:
        """The columns that a CSV must have. Bundles without a fitted curve give no confidence."""
        return [column for known, column in self.names.items() if known != "confidence"]


def check_names(target: Target) -> None:
    """Raises OptionError for a name that PostgreSQL would cut off or cannot hold, before anything is made."""
    names = {"--table": (target.table, LONGEST_NAME - len(MEMORY_SUFFIX)), "--schema": (target.schema, LONGEST_NAME)}
    for option, (name, longest) in names.items():
        if name is not None:
            _check_name(option, name, longest)
    schema, dot, table = target.table.partition(".")
    if dot and target.schema is None:
        raise OptionError(
            f'--table: "{target.table}" has a dot; for the table {table} in the schema {schema}, say --schema {schema} '
            f"--table {table}; for a table with this very name, say its schema with --schema, too"
        )
    for name in target.types:
        _check_name("--columns", name, LONGEST_NAME)


def _check_name(option: str, name: str, longest: int) -> None:
    size = len(name.encode("utf-8", "surrogateescape"))
    if not name or "\0" in name or utf8(name) != name:
        raise OptionError(f"{option}: {name[:80]!r} is not a name; write one of 1 to {longest} bytes, in UTF-8")
    if size > longest:
        raise OptionError(
            f'{option}: "{name[:80]}" has {size} bytes and PostgreSQL keeps {longest} here; choose a shorter name'
        )


def parse_columns(text: str) -> dict[str, str]:
    """`a:text,b:numeric(8,2)` -> {"a": "text", "b": "numeric(8,2)"}. Raises OptionError."""
    types = {}
    for part in re.split(r",(?![^(]*\))", text) if text else ():
        name, _, kind = part.rpartition(":")
        name, kind = name.strip(), kind.strip()
        if not name or not _TYPE.fullmatch(kind):
            raise OptionError(f'--columns: "{part}" is not NAME:TYPE; write, say, region:text,priority:int')
        if name in COLUMNS:
            raise OptionError(f'--columns: "{name}" is a column of the table already; leave it out')
        if name in types:
            raise OptionError(f'--columns: "{name}" is named twice; leave one out')
        types[name] = kind
    return types


def resolve(connection: psycopg.Connection, target: Target) -> Target:
    """The target with its schema's name, which later statements use. Raises DatabaseError if there is none."""
    if target.schema is not None:
        return target
    row = connection.execute("select pg_catalog.current_schema()::pg_catalog.text").fetchone()
    if row is None or row[0] is None:
        raise DatabaseError("the search path names no schema that exists; create one, or say which with --schema")
    return replace(target, schema=row[0])
