"""The table that the answers go to: made where it is absent, checked and extended where it is there.

Every function and type is named with its schema, so that nobody who may create things in the search path can put
their own in the place of PostgreSQL's (CVE-2018-1058).
"""

import logging
from collections.abc import Sequence

import psycopg
from psycopg import sql

from runtime.errors import DatabaseError
from stages.loading.target import COLUMNS, STAMP, Target

_KINDS = {"v": "a view", "m": "a view, a materialized one", "f": "a foreign table"}


def prepare(connection: psycopg.Connection, target: Target, migrate: bool) -> None:
    """Makes the table where it is absent; where it is there, checks it, and alters it if `migrate` says so.

    Raises DatabaseError that names what the table lacks, with the statements that add it.
    """
    if not exists(connection, target.identifier):
        # Two loaders that both find no table must not both create one.
        connection.execute(
            "select pg_catalog.pg_advisory_xact_lock("
            "pg_catalog.hashtextextended('answermill table'::pg_catalog.text, 0::pg_catalog.int8))"
        )
        connection.execute(_create(target))
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        logging.warning(
            "the database's encoding is SQL_ASCII: its functions count bytes, where start and end count characters; "
            "load into one whose encoding is UTF8"
        )
    is_partitioned = _check_kind(connection, target)
    alterations = _alterations(connection, target, is_partitioned)
    if not alterations:
        return
    if not migrate:
        script = " ".join(f"{statement.as_string(connection)};" for statement in alterations)
        raise DatabaseError(
            f"{target.identifier.as_string(connection)} cannot be loaded into yet; "
            f"add --migrate, or {_who(connection, target)} run: {script}"
        )
    for statement in alterations:
        connection.execute(statement)


def _check_kind(connection: psycopg.Connection, target: Target) -> bool:
    """Whether the table is partitioned. Raises DatabaseError for what is no table."""
    name = target.identifier.as_string(connection)
    kind, persistence, is_restricted, is_exact = connection.execute(
        sql.SQL(
            "select relkind::pg_catalog.text, relpersistence::pg_catalog.text, "
            "pg_catalog.row_security_active(own.oid), "
            "(select pg_catalog.bool_and(collisdeterministic) from pg_catalog.pg_attribute "
            "join pg_catalog.pg_collation as known on known.oid operator(pg_catalog.=) attcollation "
            "where attrelid operator(pg_catalog.=) own.oid and attname operator(pg_catalog.=) 'file'::pg_catalog.name) "
            "from pg_catalog.pg_class as own where oid operator(pg_catalog.=) "
            "pg_catalog.to_regclass({}::pg_catalog.text)"
        ).format(sql.Literal(name))
    ).fetchall()[0]
    if kind not in ("r", "p"):
        what = _KINDS.get(kind, "no table")
        raise DatabaseError(
            f"{name} is {what}, which COPY cannot fill; name a table with --table, such as the one behind it"
        )
    if persistence == "t":
        raise DatabaseError(f"{name} is a temporary table, which goes with the connection; name a schema with --schema")
    if persistence == "u":
        logging.warning("%s loses its rows if the server crashes; to keep them: alter table %s set logged;", name, name)
    if is_restricted:
        raise hidden_rows(connection, target.identifier)
    if is_exact is False:
        raise DatabaseError(
            f"the column file of {name} has a collation that takes different names, such as A.csv and a.csv, for the "
            f'same; let its owner run: alter table {name} alter column file type text collate pg_catalog."C";'
        )
    return bool(kind == "p")


def hidden_rows(connection: psycopg.Connection, table: sql.Identifier) -> DatabaseError:
    """The error of row-level security: what an account does not see it does not delete, and nothing says so."""
    user = sql.Identifier(connection.info.user).as_string(connection)
    name = table.as_string(connection)
    return DatabaseError(
        f"row-level security may hide rows of {name} from this account; let its owner run: "
        f"alter table {name} disable row level security; or a superuser: alter role {user} bypassrls;"
    )


def _who(connection: psycopg.Connection, target: Target) -> str:
    """Whose statements they are. An index takes CREATE on the schema, which a table's owner need not have."""
    owner, schema, may_create = connection.execute(
        sql.SQL(
            "select pg_catalog.pg_get_userbyid(relowner)::pg_catalog.text, nspname::pg_catalog.text, "
            "pg_catalog.has_schema_privilege(relowner, relnamespace, 'create'::pg_catalog.text) "
            "from pg_catalog.pg_class as own join pg_catalog.pg_namespace as space "
            "on space.oid operator(pg_catalog.=) relnamespace "
            "where own.oid operator(pg_catalog.=) pg_catalog.to_regclass({}::pg_catalog.text)"
        ).format(sql.Literal(target.identifier.as_string(connection)))
    ).fetchall()[0]
    if may_create:
        return "let its owner"
    grant = sql.SQL("grant create on schema {} to {}").format(sql.Identifier(schema), sql.Identifier(owner))
    return f"let the schema's owner run: {grant.as_string(connection)}; then let the table's owner"


def exists(connection: psycopg.Connection, table: sql.Identifier) -> bool:
    """Whether there is such a table."""
    there = connection.execute(
        sql.SQL("select pg_catalog.to_regclass({}::pg_catalog.text) is not null").format(
            sql.Literal(table.as_string(connection))
        )
    )
    return there.fetchone() == (True,)


def columns_of(connection: psycopg.Connection, table: sql.Identifier) -> dict[str, bool]:
    """The table's columns, and whether each has a default."""
    return dict(
        connection.execute(
            sql.SQL(
                "select attname::pg_catalog.text, atthasdef from pg_catalog.pg_attribute "
                "where attrelid operator(pg_catalog.=) pg_catalog.to_regclass({}::pg_catalog.text) "
                "and attnum operator(pg_catalog.>) 0::pg_catalog.int2 and not attisdropped"
            ).format(sql.Literal(table.as_string(connection)))
        ).fetchall()
    )


def _create(target: Target) -> sql.Composed:
    columns = [_definition(name, kind) for name, kind in (COLUMNS | dict(target.types)).items()]
    # "If": after waiting for the one who makes it, `to_regclass` may still say what the session knew before.
    return sql.SQL("create table if not exists {} ({}, primary key (file, row))").format(
        target.identifier, sql.SQL(", ").join(columns)
    )


def _definition(name: str, kind: str) -> sql.Composed:
    # Types are constants, or what `parse_columns` lets through.
    default = " default pg_catalog.now()" if name == STAMP else ""
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind + default))


def _alterations(connection: psycopg.Connection, target: Target, is_partitioned: bool) -> list[sql.Composed]:
    """The statements that make the table what loading needs; none if it is that already."""
    there = columns_of(connection, target.identifier)
    statements: list[sql.Composed] = []
    additions: list[sql.Composable] = [
        sql.SQL("add column {}").format(_definition(column, kind))
        for column, kind in (COLUMNS | dict(target.types)).items()
        if column not in there
    ]
    if there.get(STAMP) is False:
        additions.append(sql.SQL("alter column {} set default pg_catalog.now()").format(sql.Identifier(STAMP)))
    if additions:
        statements.append(sql.SQL("alter table {} {}").format(target.identifier, sql.SQL(", ").join(additions)))
    if not _has_key(connection, target.identifier.as_string(connection), is_partitioned):
        # Unique, not primary: rows that were there before belong to no file. Where a table is partitioned by something
        # else, an index that is unique must hold that too, and would not keep two rows apart.
        unique = sql.SQL("" if is_partitioned else "unique ")
        statements.append(sql.SQL('create {}index on {} (file, "row")').format(unique, target.identifier))
    return statements


def _has_key(connection: psycopg.Connection, name: str, is_partitioned: bool) -> bool:
    """Whether an index on (file, row) is there, a unique one unless the table is partitioned."""
    keys: Sequence[tuple[list[str]]] = connection.execute(
        sql.SQL(
            "select array(select attname::pg_catalog.text "
            "from pg_catalog.unnest(indkey::pg_catalog.int2[]) with ordinality as key (number, place) "
            "join pg_catalog.pg_attribute on attrelid operator(pg_catalog.=) indrelid "
            "and attnum operator(pg_catalog.=) number order by place) "
            "from pg_catalog.pg_index where indrelid operator(pg_catalog.=) "
            "pg_catalog.to_regclass({}::pg_catalog.text) and (indisunique or {}) and indisvalid and indpred is null"
        ).format(sql.Literal(name), sql.Literal(is_partitioned))
    ).fetchall()
    # Of a partitioned table's, the partition key may come behind.
    return any({*columns[:2]} == {"file", "row"} and (is_partitioned or len(columns) == 2) for (columns,) in keys)
