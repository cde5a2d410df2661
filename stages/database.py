"""The connection to PostgreSQL, and the errors of it in one line."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from runtime.errors import DatabaseError


@contextlib.contextmanager
def connect(application: str) -> Iterator[psycopg.Connection]:
    """A connection in autocommit mode, to where DATABASE_URL or the libpq variables (PGHOST, …) say.

    Raises DatabaseError with the server's reason, on one line and without the password.
    """
    with _private_key() as key:
        try:
            text = make_conninfo(os.environ.get("DATABASE_URL", ""), application_name=application, sslkey=key)
            connection = psycopg.connect(text, autocommit=True)
        except psycopg.ProgrammingError as error:
            # libpq quotes the string it cannot parse, password and all.
            raise DatabaseError(
                "DATABASE_URL is no connection string: write postgresql://USER@HOST:PORT/DATABASE"
            ) from error
        except psycopg.Error as error:
            raise DatabaseError(f"{one_line(error)}; check DATABASE_URL or PGHOST, PGUSER, …") from error
        with connection:
            yield connection


def one_line(error: psycopg.Error) -> str:
    """The server's message, detail and hint, or libpq's own words, on one line."""
    told = (
        error.diag.message_primary,
        error.diag.message_detail,
        error.diag.context,
        error.diag.message_hint,
    )
    text = ": ".join(part for part in told if part) or str(error)
    return " ".join(text.split())


@contextlib.contextmanager
def _private_key() -> Iterator[str | None]:
    """Path of a copy of PGSSLKEY that only this user can read, where others can read the original; else None.

    Kubernetes mounts secrets with mode 0644, and libpq refuses such a key.
    """
    key = Path(os.environ.get("PGSSLKEY") or "/nonexistent")
    if not key.is_file() or not key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="answermill-key-") as folder:
        copy = Path(folder, "key.pem")
        copy.touch(mode=0o600)
        copy.write_bytes(key.read_bytes())
        yield str(copy)
