"""The table that the answers go to: made where it is absent, checked and extended where it is there.

Beside it stands `<table>_file`, which remembers what was loaded; see `Memory`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from runtime.errors import DatabaseError, OptionError

# What the answered CSV holds under these names goes to columns of the same name.
ANSWERED = {
    "question": "text",
    "answer": "text",
    "context": "text",
    "model": "text",
    "score": "double precision",
    "start": "int",
    "end": "int",
    "error": "text",
}
STAMP = "qa_timestamp"
_COLUMNS = {"file": "text", "row": "bigint", **ANSWERED, "extra": "jsonb", STAMP: "timestamptz"}
_MEMORY = """
    create table if not exists {memory} (
        file text primary key,
        sha256 text not null,
        bytes bigint not null,
        rows bigint not null,
        settings text not null,
        loaded_at timestamptz not null default now()
    )
"""
_TYPE = re.compile(r"[a-z][a-z0-9_ ]*(\(\s*\d+(\s*,\s*\d+)?\s*\))?(\[\])?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """The table, and the CSV's names for its columns.

    Attributes:
        schema: None for the first of the search path.
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
        return sql.Identifier(*filter(None, (self.schema, f"{self.table}_file")))


def parse_columns(text: str) -> dict[str, str]:
    """`a:text,b:numeric(8,2)` -> {"a": "text", "b": "numeric(8,2)"}. Raises OptionError."""
    types = {}
    for part in re.split(r",(?![^(]*\))", text) if text else ():
        name, _, kind = part.rpartition(":")
        name, kind = name.strip(), kind.strip()
        if not name or not _TYPE.fullmatch(kind):
            raise OptionError(f'--columns: "{part}" is not NAME:TYPE; write, say, region:text,priority:int')
        if name in _COLUMNS:
            raise OptionError(f'--columns: "{name}" has its place in the table already; leave it out')
        if name in types:
            raise OptionError(f'--columns: "{name}" is named twice; leave one out')
        types[name] = kind
    return types


def prepare(connection: psycopg.Connection, target: Target, migrate: bool) -> bool:
    """Makes the table where it is absent; where it is there, checks it, and alters it if `migrate` says so.

    Returns whether what was loaded can be remembered. Raises DatabaseError that names what the table lacks, with the
    statements that add it.
    """
    if not (_exists(connection, target.identifier) and _exists(connection, target.memory)):
        # Two loaders that both find no table must not both create one.
        connection.execute("select pg_advisory_xact_lock(hashtextextended('answermill table', 0))")
    if not _exists(connection, target.identifier):
        connection.execute(_create(target))
    if missing := _missing(connection, target):
        if not migrate:
            script = " ".join(f"{statement};" for statement in missing)
            raise DatabaseError(
                f"{target.identifier.as_string(connection)} is not ready to be loaded into; "
                f"add --migrate, or let its owner run: {script}"
            )
        for statement in missing:
            connection.execute(statement.encode())
    return _prepare_memory(connection, target)


def _prepare_memory(connection: psycopg.Connection, target: Target) -> bool:
    """Makes the memory where it is absent. Returns whether this account may use it."""
    name = target.memory.as_string(connection)
    try:
        with connection.transaction():
            if not _exists(connection, target.memory):
                connection.execute(sql.SQL(_MEMORY).format(memory=target.memory))
    except psycopg.errors.InsufficientPrivilege:
        return False
    found = connection.execute(
        "select bool_and(has_table_privilege(%s, needed)) from unnest(array['select', 'insert', 'delete']) needed",
        [name],
    ).fetchone()
    return found == (True,)


def _exists(connection: psycopg.Connection, table: sql.Identifier) -> bool:
    return connection.execute("select to_regclass(%s)", [table.as_string(connection)]).fetchone() != (None,)


def _create(target: Target) -> sql.Composed:
    columns = [_definition(name, kind) for name, kind in (_COLUMNS | dict(target.types)).items()]
    # "If": after waiting for the one who makes it, `to_regclass` may still say what the session knew before.
    return sql.SQL("create table if not exists {} ({}, primary key (file, row))").format(
        target.identifier, sql.SQL(", ").join(columns)
    )


def _definition(name: str, kind: str) -> sql.Composed:
    # Types are constants, or matched _TYPE.
    default = " default now()" if name == STAMP else ""
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind + default))


def _missing(connection: psycopg.Connection, target: Target) -> list[str]:
    """The statements that make the table what loading needs; none if it is that already."""
    name = target.identifier.as_string(connection)
    found: dict[str, bool] = dict(
        connection.execute(
            "select attname::text, atthasdef from pg_attribute "
            "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [name],
        ).fetchall()
    )
    statements: list[sql.Composable] = []
    additions: list[sql.Composable] = [
        sql.SQL("add column {}").format(_definition(column, kind))
        for column, kind in (_COLUMNS | dict(target.types)).items()
        if column not in found
    ]
    if found.get(STAMP) is False:
        additions.append(sql.SQL("alter column {} set default now()").format(sql.Identifier(STAMP)))
    if additions:
        statements.append(sql.SQL("alter table {} {}").format(target.identifier, sql.SQL(", ").join(additions)))
    if not _has_key(connection, name):
        # Unique, not primary: rows that were there before belong to no file.
        statements.append(sql.SQL('create unique index on {} (file, "row")').format(target.identifier))
    return [statement.as_string(connection) for statement in statements]


def _has_key(connection: psycopg.Connection, name: str) -> bool:
    """Whether a unique index on (file, row) is there."""
    keys: Sequence[tuple[list[str]]] = connection.execute(
        "select array(select attname::text from unnest(indkey::int2[]) with ordinality as key (number, place) "
        "join pg_attribute on attrelid = indrelid and attnum = number order by place) "
        "from pg_index where indrelid = to_regclass(%s) and indisunique and indisvalid and indpred is null",
        [name],
    ).fetchall()
    return any(columns in (["file", "row"], ["row", "file"]) for (columns,) in keys)
