"""Answered rows, as a page shows them, out of the table that `load` filled."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from runtime.errors import DatabaseError
from stages.csvs.answered import OPTIONAL, AnsweredRow, Choice
from stages.csvs.columns import ANSWER_COLUMNS
from stages.loading.connection import session

# Rows that the server sends at a time.
FETCHED = 2_000
_OURS = ("file", "row", "question", "context", *ANSWER_COLUMNS)
# Stands in the table for bookkeeping and says nothing about an answer.
_PASSED_OVER = ("extra", "qa_timestamp")


def read_table(schema: str | None, table: str, retry_for: float, kept: str | None = None) -> Iterator[AnsweredRow]:
    """The table's rows by file and row; blank columns of the user's are left out, but for the one that is `kept`.

    Raises DatabaseError.
    """
    name = sql.Identifier(*filter(None, (schema, table)))
    query = sql.SQL('select * from {} order by file, "row"').format(name)
    with session("answermill view", retry_for) as opened:
        # Only the connection is tried again: rows that the page has seen cannot be taken back.
        try:
            yield from _rows(opened.run(lambda connection: connection), query, kept)
        except psycopg.errors.UndefinedTable as error:
            where = ".".join(filter(None, (schema, table)))
            raise DatabaseError(f"no table {where} in this database; name one with --schema and --table") from error


def _rows(connection: psycopg.Connection, query: sql.Composed, kept: str | None) -> Iterator[AnsweredRow]:
    try:
        with connection.transaction(), closing(connection.cursor("view", row_factory=dict_row)) as cursor:
            cursor.itersize = FETCHED
            for fields in cursor.execute(query):
                yield _row(fields, kept)
    except psycopg.errors.UndefinedTable:
        raise
    except psycopg.Error as error:
        raise DatabaseError(f"{' '.join(str(error).split())}; run again") from error


def _row(fields: Mapping[str, Any], kept: str | None) -> AnsweredRow:
    lacking = [name for name in _OURS if name not in fields and name != OPTIONAL]
    if lacking:
        raise DatabaseError(f"the table has no column {lacking[0]}; name one that load filled with --table")
    own = {name: value for name, value in fields.items() if name not in (*_OURS, *_PASSED_OVER)}
    own |= fields.get("extra") or {}
    return AnsweredRow(
        fields["file"] or "",
        fields["row"] or 0,
        fields["question"] or "",
        fields["context"] or "",
        Choice(fields["answer"] or "", fields["score"], fields.get(OPTIONAL), fields["start"], fields["end"]),
        fields["error"] or "",
        fields["model"] or "",
        {
            name: "" if value is None else str(value)
            for name, value in own.items()
            if value not in (None, "") or name == kept
        },
    )
