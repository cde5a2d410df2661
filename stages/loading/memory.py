"""What was loaded, kept in a table beside the answers, so that a file that has not changed is left alone.

An entry is a file, or a part of one: it owns the rows from `first_row` on, `rows` of them. `loaded_at` is the
database's clock when the entry was last loaded or found unchanged; prune deletes nothing that is newer than its
listing.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import psycopg
from psycopg import sql

from runtime.errors import DatabaseError
from stages.common.names import Origin
from stages.loading.arrays import integers, rows_from, texts
from stages.loading.schema import columns_of, exists, hidden_rows
from stages.loading.target import Target

_CREATE = """create table if not exists {memory} (
    file text not null, first_row bigint not null, path text not null, sha256 text not null, bytes bigint not null,
    rows bigint not null, settings text not null, loaded_at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (file, first_row))"""
_COLUMNS = {"file", "first_row", "path", "sha256", "bytes", "rows", "settings", "loaded_at"}
# A time as a number: psycopg reads no other DateStyle than ISO, and not every TimeZone, which the account may have set.
_MICROSECONDS = "(extract(epoch from {}) operator(pg_catalog.*) 1000000)::pg_catalog.int8"
_OLD_COLUMNS = {"file", "sha256", "bytes", "rows", "settings"}


class Entry(NamedTuple):
    """One file or part that was loaded; `loaded_at` is None for one that is about to be written."""

    origin: Origin
    path: str
    sha256: str
    size: int
    rows: int
    settings: str
    loaded_at: datetime | None = None

    @property
    def end(self) -> int:
        """The row behind its last."""
        return self.origin.first_row + self.rows


def prepare_memory(connection: psycopg.Connection, target: Target) -> None:
    """Makes the table where it is absent. Raises DatabaseError if this account may not, or it is another table."""
    create = sql.SQL(_CREATE).format(memory=target.memory)
    name = target.memory.as_string(connection)
    try:
        with connection.transaction():
            if not exists(connection, target.memory):
                connection.execute(create)
    except psycopg.errors.InsufficientPrivilege:
        raise DatabaseError(
            f"the table {name}, which remembers what was loaded, is missing; {_statements(connection, target)}"
        ) from None
    there = columns_of(connection, target.memory).keys()
    if not there >= _COLUMNS:
        table = target.identifier.as_string(connection)
        if there >= _OLD_COLUMNS:
            raise DatabaseError(
                f"{table} was filled by an older version, which knew rows under other names; "
                f"let its owner run: drop table {name}; truncate {table}; and load everything again"
            )
        raise DatabaseError(f"{name} is a table of another kind; choose another --table, or rename that one")
    is_allowed, is_restricted = connection.execute(
        sql.SQL(
            "select pg_catalog.bool_and(pg_catalog.has_table_privilege({0}::pg_catalog.text, needed)), "
            "pg_catalog.row_security_active({0}::pg_catalog.text) from "
            "pg_catalog.unnest(array['select', 'insert', 'delete']::pg_catalog.text[]) as needed"
        ).format(sql.Literal(name))
    ).fetchall()[0]
    if not is_allowed:
        raise DatabaseError(f"this account may not use {name}; {_statements(connection, target)}")
    if is_restricted:
        raise hidden_rows(connection, target.memory)
    _warn_of_unknown_rows(connection, target)


def _warn_of_unknown_rows(connection: psycopg.Connection, target: Target) -> None:
    """Says that rows may stay for ever: of a file that is gone by now, whose entry is lost with all others."""
    # In one statement: another loader may fill both tables meanwhile.
    rows = connection.execute(
        sql.SQL("select true from {} where file is not null and not exists (select from {}) limit 1").format(
            target.identifier, target.memory
        )
    ).fetchall()
    if rows:
        table, name = (known.as_string(connection) for known in (target.identifier, target.memory))
        logging.warning(
            "%s has rows of files, and %s, which remembers whose they are, was missing or empty: --prune will not "
            "delete those of files that are gone by now; if there may be such files, run: truncate %s; and load "
            "everything again",
            table,
            name,
            table,
        )


def _statements(connection: psycopg.Connection, target: Target) -> str:
    create = " ".join(sql.SQL(_CREATE).format(memory=target.memory).as_string(connection).split())
    user = sql.Identifier(connection.info.user).as_string(connection)
    grant = f"grant select, insert, delete on {target.memory.as_string(connection)} to {user}"
    return f"let the schema's owner run: {create}; {grant};"


def settings_of(target: Target) -> str:
    """What else decides about a file's rows, apart from its content."""
    return json.dumps({"names": dict(target.names), "types": dict(target.types)}, ensure_ascii=False, sort_keys=True)


def clock(connection: psycopg.Connection) -> datetime:
    """The database's clock."""
    query = sql.SQL("select " + _MICROSECONDS).format(sql.SQL("pg_catalog.clock_timestamp()"))
    return _time(connection.execute(query).fetchall()[0][0])


def _time(microseconds: int) -> datetime:
    """The time so long after the beginning of 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def entries(connection: psycopg.Connection, target: Target, files: Iterable[str] | None = None) -> list[Entry]:
    """The entries of these files, or all."""
    loaded_at = sql.SQL(_MICROSECONDS).format(sql.Identifier("loaded_at"))
    query = sql.SQL("select file, first_row, path, sha256, bytes, rows, settings, {} from {}").format(
        loaded_at, target.memory
    )
    if files is not None:
        query += sql.SQL(" where file operator(pg_catalog.=) any({})").format(texts(files))
    return [
        Entry(Origin(file, first), path, sha256, size, rows, settings, _time(loaded_at))
        for file, first, path, sha256, size, rows, settings, loaded_at in connection.execute(query)
    ]


def take_turns(connection: psycopg.Connection, files: Iterable[str]) -> None:
    """Waits until no other transaction loads or prunes any of these files. In order, so that no two wait crosswise."""
    # `unnest` gives its elements one after the other, so the locks are taken as the files are sorted.
    connection.execute(
        sql.SQL(
            "select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(file, 1::pg_catalog.int8)) "
            "from pg_catalog.unnest({}) as file"
        ).format(texts(sorted(files)))
    )


def forget(connection: psycopg.Connection, target: Target, origins: Sequence[Origin]) -> None:
    """Removes entries."""
    if origins:
        gone = rows_from(texts(file for file, _ in origins), integers(first for _, first in origins))
        connection.execute(
            sql.SQL(
                "delete from {} as entry using {} as gone (file, first_row) "
                "where entry.file operator(pg_catalog.=) gone.file "
                "and entry.first_row operator(pg_catalog.=) gone.first_row"
            ).format(target.memory, gone)
        )


def write(connection: psycopg.Connection, target: Target, written: Iterable[Entry], there: Container[Origin]) -> None:
    """Writes entries in the place of those that are `there`, stamped with the database's clock of now.

    What is left of an entry keeps its stamp: no rows of it were loaded now.
    """
    by_settings: dict[str, list[Entry]] = defaultdict(list)
    for entry in written:
        by_settings[entry.settings].append(entry)
    for settings, entries_now in by_settings.items():
        forget(connection, target, [entry.origin for entry in entries_now if entry.origin in there])
        rows = rows_from(
            texts(entry.origin.file for entry in entries_now),
            integers(entry.origin.first_row for entry in entries_now),
            texts(entry.path for entry in entries_now),
            texts(entry.sha256 for entry in entries_now),
            integers(entry.size for entry in entries_now),
            integers(entry.rows for entry in entries_now),
            texts(entry.loaded_at.isoformat() if entry.loaded_at else "now" for entry in entries_now),
        )
        connection.execute(
            sql.SQL(
                "insert into {} (file, first_row, path, sha256, bytes, rows, settings, loaded_at) "
                "select file, first_row, path, sha256, bytes, rows, {}::pg_catalog.text, "
                "case when loaded_at operator(pg_catalog.=) 'now'::pg_catalog.text then pg_catalog.clock_timestamp() "
                "else loaded_at::pg_catalog.timestamptz end "
                "from {} as now (file, first_row, path, sha256, bytes, rows, loaded_at)"
            ).format(target.memory, sql.Literal(settings), rows)
        )
