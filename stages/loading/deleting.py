"""Deletes ranges of rows, and finds out whether they are gone.

A trigger, a rule or a policy of the table may keep rows without an error. Whoever deletes must know: rows that stay
behind when their entry goes are nobody's any more, and no later run deletes them.
"""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from stages.common.names import Origin
from stages.loading.arrays import integers, rows_from, texts
from stages.loading.ranges import Range
from stages.loading.target import Target

# What stands for a range without an end; the row behind the last one is never 0.
_NO_END = 0


def delete_rows(connection: psycopg.Connection, target: Target, ranges: Sequence[Range]) -> dict[Origin, int]:
    """Deletes the rows of these ranges. Returns how many each had, by its file and first row."""
    if len(ranges) == 1:
        where = ranges[0]
        query = sql.SQL(
            "delete from {} where file operator(pg_catalog.=) {}::pg_catalog.text "
            "and row operator(pg_catalog.>=) {}::pg_catalog.int8"
        ).format(target.identifier, sql.Literal(where.file), sql.Literal(where.first))
        if where.end is not None:
            query += sql.SQL(" and row operator(pg_catalog.<) {}::pg_catalog.int8").format(sql.Literal(where.end))
        return {Origin(where.file, where.first): connection.execute(query).rowcount}
    counted = connection.execute(
        sql.SQL(
            "with gone as (delete from {} as old using {} where old.file operator(pg_catalog.=) due.file "
            "and old.row operator(pg_catalog.>=) due.first "
            "and (due.last operator(pg_catalog.=) {}::pg_catalog.int8 or old.row operator(pg_catalog.<) due.last) "
            "returning due.file, due.first) select file, first, pg_catalog.count(*) from gone group by file, first"
        ).format(target.identifier, as_due(ranges), sql.Literal(_NO_END))
    )
    return {Origin(file, first): int(rows) for file, first, rows in counted}


def kept_files(connection: psycopg.Connection, target: Target, ranges: Sequence[Range]) -> list[str]:
    """The files of those ranges in which there are rows, although they were deleted."""
    # A query for each range, so that each is looked up in the index.
    kept = connection.execute(
        sql.SQL(
            "select file from {} where (select true from {} as kept where kept.file operator(pg_catalog.=) due.file "
            "and kept.row operator(pg_catalog.>=) due.first and (due.last operator(pg_catalog.=) {}::pg_catalog.int8 "
            "or kept.row operator(pg_catalog.<) due.last) limit 1)"
        ).format(as_due(ranges), target.identifier, sql.Literal(_NO_END))
    )
    return [file for (file,) in kept]


def as_due(ranges: Sequence[Range]) -> sql.Composed:
    """The ranges as `due (file, first, last)`."""
    return sql.SQL("{} as due (file, first, last)").format(
        rows_from(
            texts(where.file for where in ranges),
            integers(where.first for where in ranges),
            integers(_NO_END if where.end is None else where.end for where in ranges),
        )
    )
