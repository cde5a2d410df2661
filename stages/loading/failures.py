"""What PostgreSQL's failures mean: which may pass by themselves, and what to do about the others."""

import re
from collections.abc import Iterator

import psycopg

# SQLSTATEs after which the same work can succeed a moment later.
_PASSING = {
    "25P03": "idle-in-transaction session timeout",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "53300": "too many connections",
    "55P03": "lock timeout",
    "57014": "statement timeout, or somebody's cancel; of a COPY `is_about_rows` and `is_cancelled` decide first",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "starting up or shutting down",
    "57P05": "idle session timeout",
}
# Classes of what is wrong with the server, the connection, or the account; any other is about what is loaded.
_ENVIRONMENT = (
    "08",
    "0A",
    "25",
    "26",
    "28",
    "2D",
    "34",
    "3B",
    "3D",
    "3F",
    "40",
    "53",
    "55",
    "57",
    "58",
    "F0",
    "HV",
    "XX",
)
# libpq gives no SQLSTATE for a connection that was not made, so its words have to tell.
_PASSING_SIGNS = (
    "Is the server running",
    "Connection refused",
    "Connection reset",
    "could not translate host name",
    "server closed the connection unexpectedly",
    "timed out",
    "timeout expired",
    "No route to host",
    "Network is unreachable",
    "the database system is",
    "too many clients already",
    "remaining connection slots",
)
_VALUE = re.compile(r'(invalid [\w ]*(?:value|number):? )"[^"]*"')
_REMEDIES = {
    "25006": "connect to the primary, say with PGTARGETSESSIONATTRS=read-write; an account or a database there "
    'that only reads by default may write with PGOPTIONS="-c default_transaction_read_only=off"',
    "25P03": "raise idle_in_transaction_session_timeout, or set it to 0 for this account",
    "25P04": "raise transaction_timeout, or set it to 0 for this account; or cut the file into smaller ones",
    "3D000": "create it, or correct PGDATABASE or DATABASE_URL",
    "3F000": "create the schema, or correct --schema",
    "42501": "grant it: docs/load.md has the statements",
    "53100": "free space on the server, then run it again",
    "55P03": "end the session that holds the lock, or raise lock_timeout and --retry-for",
    "57014": 'raise statement_timeout, say PGOPTIONS="-c statement_timeout=0", or cut the file into smaller ones',
    "57P05": "raise idle_session_timeout, or set it to 0 for this account",
}
_CONNECTION_REMEDIES = {
    "stopped answering": "check whether the server is suspended or overloaded, or the network is cut",
    "root certificate file": "set PGSSLROOTCERT to the certificate of the authority that signed the server's",
    "certificate verify failed": "check that PGSSLROOTCERT is the authority that signed the server's certificate, and "
    "that none has expired",
    "private key": "check PGSSLCERT and PGSSLKEY",
    "client certificate": "set PGSSLCERT and PGSSLKEY",
    "certificate": "check PGSSLROOTCERT, PGSSLCERT and PGSSLKEY",
    "SSL": "check PGSSLMODE, PGSSLROOTCERT, PGSSLCERT and PGSSLKEY",
    "password": "check PGUSER and PGPASSWORD, or DATABASE_URL",
    "role": "check PGUSER, or DATABASE_URL",
    "database": "create it, or correct PGDATABASE or DATABASE_URL",
}


def pauses() -> Iterator[float]:
    """Seconds to wait before each next try: 0.1, doubling up to 5."""
    pause = 0.1
    while True:
        yield pause
        pause = min(2 * pause, 5.0)


def may_pass(error: psycopg.Error, connecting: bool) -> bool:
    """Whether the same work can succeed later. A connection that breaks under work always may be made again."""
    if error.sqlstate:
        return error.sqlstate in _PASSING or error.sqlstate.startswith("08")
    if not connecting:
        return isinstance(error, psycopg.OperationalError)
    return any(sign in str(error) for sign in _PASSING_SIGNS)


def is_about_rows(error: psycopg.Error) -> bool:
    """Whether other files can still be loaded: a value, a constraint, a limit, a trigger, or the time for a statement.

    A trigger may raise whatever SQLSTATE its author has made up. What names a thing that does not exist is about a row
    too, if it comes with a line of COPY: a value for a column of type regclass. So is the time for a statement: what
    waits for a lock that long has nothing against the rows.
    """
    state = error.sqlstate or ""
    if state == "57014" or state.startswith("42"):
        return state != "42501" and "COPY" in (error.diag.context or "")
    return bool(state) and not state.startswith(_ENVIRONMENT)


def is_cancelled(error: psycopg.Error, connection: psycopg.Connection) -> bool:
    """Whether somebody has ended the statement: its time cannot have, where it has no limit."""
    if error.sqlstate != "57014":
        return False
    query = "select pg_catalog.current_setting('statement_timeout'::pg_catalog.text)"
    return connection.execute(query).fetchone() == ("0",)


def one_line(error: psycopg.Error) -> str:
    """The server's message, detail and hint, or libpq's own words, on one line."""
    if not error.sqlstate:
        # libpq repeats what stands as `sslmode` or `port`; it may be the end of a password that broke the URL.
        return shorten(_VALUE.sub(r'\1"…"', str(error)))
    texts = (error.diag.message_primary, error.diag.message_detail, error.diag.context, error.diag.message_hint)
    return shorten(": ".join(text for text in texts if text) or str(error))


def shorten(text: str) -> str:
    """The text on one line of at most 600 characters; the server repeats a value of any length."""
    line = " ".join(text.split())
    return line if len(line) <= 600 else f"{line[:300]} … {line[-300:]}"


def remedy(error: psycopg.Error) -> str:
    """What the user can do about it."""
    if error.sqlstate:
        return _REMEDIES.get(error.sqlstate, "correct this and run it again: no row of the file was changed")
    text = str(error)
    fitting = (advice for sign, advice in _CONNECTION_REMEDIES.items() if sign in text)
    return next(fitting, "check DATABASE_URL or PGHOST, PGPORT, PGUSER, …")
