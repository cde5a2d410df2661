"""Waiting for the server: how long in all, what is said meanwhile, and how it ends.

A server may stand still, or hold a lock for somebody else, and no timeout of TCP's notices: the kernel goes on
confirming what arrives, and a Unix socket has no timeouts at all. So each wait is watched, and when it lasts, a second
connection asks the server what the first one waits for.
"""

import contextlib
import logging
import selectors
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

Result = TypeVar("Result")

# Seconds of silence until something is said, and until it is said again.
FIRST_WORD, NEXT_WORD = 5.0, 30.0
# A shorter wait than this is none: `--retry-for 0` still lets others finish with a lock.
_MOMENT = 1.0
# Seconds for a second connection to be made, and for each of its queries; libpq takes no less to connect.
_LOOK = 2
_STEP = 0.1
# The server's own limit for a lock comes a little later than this side's, which can say who holds it.
_LATER = 2.0
# For the transaction only: what is set for a session would stay in a pooler's connection, for whoever has it next. The
# keepalives are the server's side of them: what a cut connection left half done holds the file's lock until they fail.
# A commit waits for the disk: of a datum that is done nobody looks whether a server that crashed has lost its rows.
# A setting comes with its unit, such as `10s`, and is read as an interval: pg_settings, which has it in milliseconds,
# took the server 0.6 ms.
_LIMITS = """select pg_catalog.pg_backend_pid(), pg_catalog.set_config('tcp_keepalives_idle', '60', true),
    pg_catalog.set_config('tcp_keepalives_interval', '10', true),
    pg_catalog.set_config('tcp_keepalives_count', '3', true),
    case when durability operator(pg_catalog.=) 'off'::pg_catalog.text
    then pg_catalog.set_config('synchronous_commit', 'on', true) end,
    pg_catalog.set_config('lock_timeout', least({limit}::pg_catalog.int8,
    case when setting operator(pg_catalog.=) '0'::pg_catalog.text then null else
    (extract(epoch from setting::pg_catalog.interval) operator(pg_catalog.*) 1000)::pg_catalog.int8 end
    )::pg_catalog.text, true)
    from pg_catalog.current_setting('lock_timeout'::pg_catalog.text) as setting,
    pg_catalog.current_setting('synchronous_commit'::pg_catalog.text) as durability"""
_OWN = """select wait_event_type, wait_event, pg_catalog.pg_blocking_pids(pid),
    (select tuples_processed from pg_catalog.pg_stat_progress_copy as copy
    where copy.pid operator(pg_catalog.=) own.pid)
    from pg_catalog.pg_stat_activity as own where pid operator(pg_catalog.=) {}::pg_catalog.int4"""
_HOLDERS = """select pid, usename::pg_catalog.text, application_name, state from pg_catalog.pg_stat_activity
    where pid operator(pg_catalog.=) any({}::pg_catalog.int4[])"""


class Patience:
    """Seconds that may still be waited in vain, of those that are allowed in all."""

    def __init__(self, limit: float) -> None:
        self.left = limit
        self._began = time.monotonic()

    def begin(self) -> None:
        """A wait begins."""
        self._began = time.monotonic()

    def end_in_vain(self) -> None:
        """Takes what was waited from the time that is left, because nothing came of it."""
        self.left -= time.monotonic() - self._began
        self.begin()


class Look(NamedTuple):
    """What a second connection saw of the first.

    Attributes:
        text: what is waited for.
        stands_still: whether the server, or its process, does nothing at all.
        for_a_lock: whether somebody else holds what is waited for.
        copied: rows that COPY has taken, where one is at work.

    """

    text: str
    stands_still: bool = False
    for_a_lock: bool = False
    copied: int | None = None


class SilenceError(psycopg.OperationalError):
    """The server has stopped in the middle."""


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose every wait for the server has an end, once `watch` was called."""

    _patience: Patience | None = None
    _look: Callable[[int], Look]
    _process: int = 0

    def watch(self, patience: Patience, look: Callable[[int], Look]) -> None:
        """Bounds waits by `patience`. `look` looks at a process of the server from outside."""
        self._patience, self._look = patience, look
        self._process = self.info.backend_pid

    @contextlib.contextmanager
    def bounded_transaction(self, rollback: bool = False) -> Iterator[None]:
        """A transaction that waits for no lock longer than is left, nor than the server's own lock_timeout."""
        limit = max(self._patience.left if self._patience else 0.0, _MOMENT) + _LATER
        with self.transaction(force_rollback=rollback):
            # A pooler gives each transaction another process of the server.
            query = sql.SQL(_LIMITS).format(limit=sql.Literal(round(limit * 1000)))
            self._process = self.execute(query).fetchall()[0][0]
            yield

    def wait(self, gen: PQGen[Result], interval: float = _STEP, timeout: float | None = None) -> Result:
        """As psycopg's, through which all that waits for the server goes. Raises OperationalError at the limit."""
        if self._patience is None:
            return super().wait(gen, interval, timeout or _LOOK)
        self._patience.begin()
        try:
            return self._wait(gen, self._patience.left)
        except (KeyboardInterrupt, SystemExit, SilenceError, psycopg.errors.LockNotAvailable):
            # A process that waits for a lock does not notice that nobody is there any more.
            with contextlib.suppress(psycopg.Error):
                self.cancel_safe(timeout=3 * _STEP)
            self.close()
            raise

    def _wait(self, gen: PQGen[Result], left: float) -> Result:
        limit = max(left, _MOMENT)
        watch = _Watch(limit, lambda: self._look(self._process))
        try:
            wanted = next(gen)
            with selectors.DefaultSelector() as selector:
                key = selector.register(self.pgconn.socket, wanted)
                while True:
                    events = selector.select(_STEP)
                    if events:
                        watch = _Watch(limit, watch.look)
                    else:
                        watch.check(sending=bool(wanted & Wait.W))
                    wanted = gen.send(events[0][1] if events else Ready.NONE) or wanted
                    key = key if key.events == wanted else selector.modify(key.fileobj, wanted)
        except StopIteration as end:
            result: Result = end.value
            return result


class _Watch:
    """One silence of the server's, from its beginning to its end."""

    def __init__(self, limit: float, look: Callable[[], Look]) -> None:
        self.look = look
        self._limit = limit
        self._began = time.monotonic()
        self._moments = _moments(limit)
        self._due = next(self._moments)
        self._copied: int | None = None

    def check(self, sending: bool) -> None:
        """Says what is waited for when it is time to. At the limit, raises if that is a lock, or may never come.

        A server that is at work on a statement may take as long as it likes.
        """
        silence = time.monotonic() - self._began
        if silence < self._due:
            return
        self._due = next(self._moments)
        look = self.look()
        if silence >= self._limit and look.for_a_lock:
            raise psycopg.errors.LockNotAvailable(f"waited {silence:.0f} s for {look.text}")
        known, self._copied = self._copied, look.copied
        stuck = sending if look.copied is None else look.copied == known
        if silence >= max(self._limit, FIRST_WORD) and (look.stands_still or stuck):
            raise SilenceError(f"the server has stopped answering: silence for {silence:.0f} s; waited for {look.text}")
        if silence >= FIRST_WORD:
            logging.info("waiting for %.0f s now for %s", silence, look.text)


def _moments(limit: float) -> Iterator[float]:
    """Seconds of silence after which the server is looked at."""
    if limit < FIRST_WORD:
        yield limit
    yield (moment := FIRST_WORD)
    while moment < limit:
        yield (moment := min(moment + NEXT_WORD, limit))
    # What COPY had taken at the last look tells whether it goes on.
    yield (moment := moment + 1)
    while True:
        yield (moment := moment + NEXT_WORD)


def look_at(process: int, connect: Callable[[int], WatchedConnection]) -> Look:
    """Asks the server, over a connection of its own, what one of its processes waits for."""
    try:
        with contextlib.closing(connect(_LOOK)) as connection:
            connection.autocommit = True
            own = connection.execute(sql.SQL(_OWN).format(sql.Literal(process))).fetchall()
            blocking = own[0][2] if own else []
            holders = connection.execute(sql.SQL(_HOLDERS).format(sql.Literal(blocking))).fetchall()
    except psycopg.Error as error:
        if error.sqlstate or "FATAL" in str(error):
            return Look("the server, which accepts no second connection for details")
        return Look("the server, which does not answer a second connection either", stands_still=True)
    if not own:
        return Look("the server")
    kind, event, _, copied = own[0]
    if kind == "Lock":
        who = "; ".join(_holder(*holder) for holder in holders) or "a transaction that was prepared, or has just ended"
        return Look(f"a lock ({event}) that another session holds: {who}", for_a_lock=True, copied=copied)
    if event == "ClientRead":
        return Look("the server, whose process does not read what was sent", stands_still=True)
    return Look("the server, which is at work" + (f" ({kind}: {event})" if event else ""), copied=copied)


def _holder(process: int, user: str | None, application: str | None, state: str | None) -> str:
    named = [f"user {user}" if user else "", application or "", state or ""]
    return f"process {process} ({', '.join(filter(None, named))})"
