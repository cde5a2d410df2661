"""The connection to PostgreSQL: where it goes, what it needs from the file system, and keeping at it."""

import contextlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.errors import DatabaseError
from stages.faults import may_pass, one_line, pauses, remedy

Result = TypeVar("Result")

# A cut connection must not hang: libpq's own limits are two hours for a silent one and fifteen minutes for a full one.
_LIMITS = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
# The server's side of it: what a cut connection left half done holds the file's lock until the server notices.
_SERVER_LIMITS = "set tcp_keepalives_idle = 60; set tcp_keepalives_interval = 10; set tcp_keepalives_count = 3"


class Session:
    """A connection in autocommit mode that is made when it is needed, and again when it was lost."""

    def __init__(self, conninfo: str, patience: float) -> None:
        self._conninfo = conninfo
        self._patience = patience
        self._connection: psycopg.Connection | None = None

    def run(self, work: Callable[[psycopg.Connection], Result]) -> Result:
        """What `work` returns. After a failure that may pass it is called again, up to `patience` seconds of waiting.

        Raises DatabaseError with the server's reason, on one line, and what to do.
        """
        waits = pauses(self._patience)
        while True:
            try:
                return work(self._connected())
            except psycopg.Error as error:
                told = one_line(error)
                passing = may_pass(error, connecting=self._connection is None)
                pause = next(waits, None) if passing else None
                if pause is None:
                    patience = f" (tried for {self._patience:g} s)" if passing else ""
                    raise DatabaseError(f"{told}{patience}; {remedy(error)}") from error
                logging.warning("%s; trying again in %.1f s", told, pause)
            time.sleep(pause)

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = None
            connection = psycopg.connect(self._conninfo, autocommit=True)
            # Whatever the server's default: a later snapshot than the wait for the file's lock is what makes two
            # loaders of one file exact.
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.execute(_SERVER_LIMITS)
            self._connection = connection
        return self._connection


@contextlib.contextmanager
def session(application: str, patience: float) -> Iterator[Session]:
    """A session with the database that DATABASE_URL or the libpq variables (PGHOST, PGSERVICE, …) name.

    Raises DatabaseError where DATABASE_URL makes no sense.
    """
    url = os.environ.get("DATABASE_URL", "")
    given: dict[str, Any] = _parse(url)
    with tempfile.TemporaryDirectory(prefix="answermill-") as folder:
        settings = {name: value for name, value in _LIMITS.items() if name not in given}
        if "connect_timeout" not in given and "PGCONNECT_TIMEOUT" not in os.environ:
            settings["connect_timeout"] = 10
        for name, variable in (("sslkey", "PGSSLKEY"), ("passfile", "PGPASSFILE")):
            if path := given.get(name) or os.environ.get(variable):
                given[name] = _private(Path(path), Path(folder, name))
        given |= {"client_encoding": "UTF8", "application_name": application}
        opened = Session(make_conninfo(**(settings | given)), patience)
        try:
            yield opened
        finally:
            opened.close()


def _parse(url: str) -> dict[str, Any]:
    """The parameters in DATABASE_URL. Raises DatabaseError, and never quotes what may be part of a password.

    A password with a raw `@` or `/` would end up in the host, port or database, which libpq names in its errors.
    """
    remedy = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with @ : / ? # % in the password percent-encoded"
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Not chained: libpq quotes the string it cannot parse, password and all.
        raise DatabaseError(f"DATABASE_URL is no connection string; {remedy}") from None
    if "://" in url:
        ports = str(given.get("port", "")).replace(",", "")
        if "@" in f"{given.get('host', '')}{given.get('dbname', '')}" or not (ports.isdecimal() or not ports):
            raise DatabaseError(f"DATABASE_URL does not come apart into host, port and database; {remedy}")
    return dict(given)


def _private(path: Path, copy: Path) -> str:
    """`path`, or where others can read it `copy`, which they cannot.

    Kubernetes mounts secrets with mode 0644; libpq refuses such a key and ignores such a password file.
    """
    if not path.is_file() or not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return str(path)
    copy.touch(mode=0o600)
    copy.write_bytes(path.read_bytes())
    return str(copy)
