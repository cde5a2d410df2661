"""The connection to PostgreSQL: where it goes, what it needs from the file system, and keeping at it."""

import contextlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.errors import DatabaseError
from stages.loading.failures import may_pass, one_line, pauses, remedy

Result = TypeVar("Result")

# A cut connection must not hang: libpq's own limits are two hours for a silent one and fifteen minutes for a full one.
_LIMITS = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
# What libpq reads from files that must be private, and the variables that name them.
_SECRETS = {"sslkey": "PGSSLKEY", "passfile": "PGPASSFILE"}
# The server's side of it: what a cut connection left half done holds the file's lock until the server notices.
_SERVER_LIMITS = "set tcp_keepalives_idle = 60; set tcp_keepalives_interval = 10; set tcp_keepalives_count = 3"


class Session:
    """A connection in autocommit mode that is made when it is needed, and again when it was lost."""

    def __init__(self, settings: Mapping[str, Any], patience: float) -> None:
        self._settings = settings
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
            with _private_copies(self._settings) as copies:
                conninfo = make_conninfo(**{**self._settings, **copies})
                # A transaction pooler hands each transaction to another server, which knows no prepared statement.
                connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
            # Whatever the server's default: a later snapshot than the wait for the file's lock is what makes two
            # loaders of one file exact.
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.execute(_SERVER_LIMITS)
            self._connection = connection
        return self._connection


@contextlib.contextmanager
def session(application: str, patience: float) -> Iterator[Session]:
    """As `open_session`, closed at the end."""
    opened = open_session(application, patience)
    try:
        yield opened
    finally:
        opened.close()


def open_session(application: str, patience: float) -> Session:
    """A session with the database that DATABASE_URL or the libpq variables (PGHOST, PGSERVICE, …) name.

    Raises DatabaseError where DATABASE_URL makes no sense.
    """
    given = _parse(os.environ.get("DATABASE_URL", ""))
    settings = dict(_LIMITS) if "PGCONNECT_TIMEOUT" in os.environ else {**_LIMITS, "connect_timeout": 10}
    return Session(settings | given | {"client_encoding": "UTF8", "application_name": application}, patience)


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


@contextlib.contextmanager
def _private_copies(settings: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Copies, which nobody else can read, of a key and a password file that others can; none where there are none.

    Kubernetes mounts secrets with mode 0644; libpq refuses such a key and ignores such a password file. They last
    while a connection is being made and no longer, so that a killed loader leaves no key behind.
    """
    given = {name: Path(settings.get(name) or os.environ.get(variable) or "") for name, variable in _SECRETS.items()}
    open_to_others = {
        name: path
        for name, path in given.items()
        if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    }
    if not open_to_others:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="answermill-secret-") as folder:
        for name, path in open_to_others.items():
            copy = Path(folder, name)
            copy.touch(mode=0o600)
            copy.write_bytes(path.read_bytes())
        yield {name: str(Path(folder, name)) for name in open_to_others}
