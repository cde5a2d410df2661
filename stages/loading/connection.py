"""The connection to PostgreSQL: where it goes, what it needs from the file system, and when it is tried again."""

import contextlib
import logging
import math
import os
import random
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.errors import DatabaseError
from runtime.quoting import PATH_REMEDY, is_path, quoted_path
from stages.common.names import utf8
from stages.loading.failures import may_pass, one_line, pauses, remedy
from stages.loading.waiting import FIRST_WORD, NEXT_WORD, Patience, WatchedConnection, look_at

Result = TypeVar("Result")

# A cut connection must not hang: libpq's own limits are two hours for a silent one and fifteen minutes for a full one.
_LIMITS = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
# Seconds for a connection to be made, and what even the last try has.
_CONNECT, _LEAST_CONNECT = 10, 5
# What libpq reads from files that must be private, and the variables that name them.
_SECRETS = {"sslkey": "PGSSLKEY", "passfile": "PGPASSFILE"}
# All that libpq reads from files. Its errors quote the path, and a pasted key with it.
_FILES = {**_SECRETS, "sslcert": "PGSSLCERT", "sslrootcert": "PGSSLROOTCERT", "servicefile": "PGSERVICEFILE"}
# A URL in one of these would be taken for the name of a host or a database, and named with its password.
_PLAIN = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSSLMODE")
# Values of these that are no path: the trusted roots of the system, a key that an engine of OpenSSL keeps.
_NO_FILE = re.compile(r"system|[a-z0-9]{1,20}:[\w-]{1,40}")
# Parameters that other clients put into a URL. Only these are named: another word may be part of a password.
_FOREIGN = frozenset(
    {
        "connection_limit",
        "currentSchema",
        "pgbouncer",
        "pool_timeout",
        "schema",
        "search_path",
        "ssl",
        "statement_cache",
    }
)


class Session:
    """A connection in autocommit mode that is made when it is needed, and again when it was lost."""

    def __init__(self, settings: Mapping[str, Any], patience: float) -> None:
        self._settings = settings
        self._patience = patience
        self._connection: WatchedConnection | None = None

    def run(self, work: Callable[[WatchedConnection], Result]) -> Result:
        """What `work` returns. After a failure that may pass it is called again.

        `patience` is how many seconds are waited without an answer, in tries and between them, all together; a server
        that answers may take longer. Raises DatabaseError with the server's reason, on one line, and what to do.
        """
        patience, waits, trouble = Patience(self._patience), pauses(), _Trouble()
        while True:
            try:
                return work(self._live_connection(patience))
            except psycopg.Error as error:
                patience.end_in_vain()
                reason = one_line(error)
                passing = may_pass(error, connecting=self._connection is None)
                pause = next(waits)
                if not passing or patience.left < pause:
                    tried = f" (tried for {self._patience:g} s)" if passing else ""
                    raise DatabaseError(f"{reason}{tried}; {remedy(error)}") from error
                trouble.tell(reason, patience.left, "" if error.sqlstate else f"; {remedy(error)}")
            # Two loaders that have met in a deadlock are not to meet there again.
            time.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 - no secret
            patience.end_in_vain()

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()

    def _live_connection(self, patience: Patience) -> WatchedConnection:
        if self._connection is None or self._connection.closed:
            self._connection = None
            patience.begin()
            with _log_wait():
                self._connection = self._connect(max(math.ceil(patience.left), _LEAST_CONNECT))
        self._connection.watch(patience, lambda process: look_at(process, self._connect))
        return self._connection

    def _connect(self, within: int) -> WatchedConnection:
        given = str(self._settings.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or "")
        # libpq takes 0 and less for "for ever".
        timeout = int(given) if given.strip().isdecimal() and int(given) else _CONNECT
        with _private_copies(self._settings) as copies:
            settings = {**self._settings, **copies, "connect_timeout": min(timeout, within)}
            # A transaction pooler hands each transaction to another server, which knows no prepared statement.
            connection = WatchedConnection.connect(make_conninfo(**settings), autocommit=True, prepare_threshold=None)
        # Whatever the server's default: a later snapshot than the wait for the file's lock is what makes two loaders
        # of one file exact.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return connection


class _Trouble:
    """Says why the work is tried again: at once for a new reason, then seldom; once a try was 17 lines a minute."""

    def __init__(self) -> None:
        self._reason = ""
        self._when = 0.0

    def tell(self, reason: str, seconds: float, advice: str) -> None:
        """Warns that it is tried again for so many seconds."""
        now = time.monotonic()
        if reason != self._reason or now >= self._when + NEXT_WORD:
            logging.warning("%s; trying again for %.1f s%s", reason, seconds, advice)
            self._reason, self._when = reason, now


@contextlib.contextmanager
def _log_wait() -> Iterator[None]:
    """Says that a connection takes long to be made."""
    timer = threading.Timer(FIRST_WORD, logging.info, ["waiting for the server to answer a new connection"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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

    Raises DatabaseError if DATABASE_URL makes no sense.
    """
    given = _parse(os.environ.get("DATABASE_URL", ""))
    _check_values(given)
    limits = {**_LIMITS, "tcp_user_timeout": 1000 * round(min(60, max(patience, _LEAST_CONNECT)))}
    return Session(limits | given | {"client_encoding": "UTF8", "application_name": application}, patience)


def _parse(url: str) -> dict[str, Any]:
    """The parameters in DATABASE_URL. Raises DatabaseError, and never quotes what may be part of a password.

    A password with a raw `@` or `/` would end up in the host, port or database, which libpq names in its errors.
    """
    remedy = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with @ : / ? # % in the password percent-encoded"
    if utf8(url) != url:
        raise DatabaseError(f"DATABASE_URL is not UTF-8; {remedy}")
    if url != url.strip() or url[:1] in ("'", '"'):
        raise DatabaseError("DATABASE_URL has quotes, blanks or a line break around it; leave them out")
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # Not chained: libpq quotes the string it cannot parse, password and all.
        raise DatabaseError(f"DATABASE_URL {_reason(str(error))}; {_remedy_of(str(error)) or remedy}") from None
    if "://" in url:
        ports = str(given.get("port", "")).replace(",", "")
        if "@" in f"{given.get('host', '')}{given.get('dbname', '')}" or not (ports.isdecimal() or not ports):
            raise DatabaseError(f"DATABASE_URL cannot be split into host, port and database; {remedy}")
    return dict(given)


def _reason(message: str) -> str:
    name = _foreign(message)
    return f'has the parameter "{name}", which is not one of libpq\'s' if name else "is not a connection string"


def _remedy_of(message: str) -> str | None:
    name = _foreign(message)
    schema = ", and name the schema with --schema" if name in ("currentSchema", "schema", "search_path") else ""
    return f"leave it out{schema}" if name else None


def _foreign(message: str) -> str | None:
    """The parameter that libpq does not know, if it is one that is safe to name."""
    named = re.search(r'invalid (?:URI query parameter|connection option)[^"]*"(\w+)"', message)
    return named[1] if named and named[1] in _FOREIGN else None


def _check_values(settings: Mapping[str, Any]) -> None:
    """Raises DatabaseError for a value of another kind, such as the content of a file instead of its path.

    libpq would quote it.
    """
    for variable in _PLAIN:
        if "://" in os.environ.get(variable, ""):
            raise DatabaseError(f"{variable} holds a URL; put it into DATABASE_URL instead")
        if utf8(os.environ.get(variable, "")) != os.environ.get(variable, ""):
            raise DatabaseError(f"{variable} is not UTF-8; write it again")
    for name, variable in _FILES.items():
        value = settings.get(name) or os.environ.get(variable) or ""
        if value and not is_path(value) and not _NO_FILE.fullmatch(value):
            setting = f"{name} in DATABASE_URL" if settings.get(name) else quoted_path(variable, value)
            raise DatabaseError(f"{setting}: no such file; {PATH_REMEDY}")


@contextlib.contextmanager
def _private_copies(settings: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Copies, which nobody else can read, of a key and a password file that others can; none if there are none.

    Kubernetes mounts secrets with mode 0644; libpq refuses such a key and ignores such a password file. The copies are
    in memory, so that they go with the process, however it ends.
    """
    paths = {name: Path(settings.get(name) or os.environ.get(variable) or "") for name, variable in _SECRETS.items()}
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(_private_copy(path))
            for name, path in paths.items()
            if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        }


@contextlib.contextmanager
def _private_copy(path: Path) -> Iterator[str]:
    if not hasattr(os, "memfd_create"):
        # macOS. A killed loader leaves this one behind.
        with tempfile.NamedTemporaryFile(prefix="answermill-secret-") as file:
            file.write(path.read_bytes())
            file.flush()
            yield file.name
        return
    with os.fdopen(os.memfd_create("answermill-secret"), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(path.read_bytes())
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
