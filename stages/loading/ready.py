"""The table and its memory are made or checked before anything is loaded; for many datums once, not for each."""

import psycopg

from runtime.errors import DatabaseError
from stages.loading.connection import Session
from stages.loading.memory import prepare_memory
from stages.loading.schema import prepare
from stages.loading.target import Target, resolve
from stages.loading.waiting import WatchedConnection

# Classes of SQLSTATE that a table gives which is not what it was: syntax and access rules, no such schema.
_ALTERED = ("42", "3F")


def prepare_target(connection: WatchedConnection, target: Target, *, migrate: bool, dry_run: bool) -> Target:
    """Makes or checks the table and its memory. Returns the target with its schema's name."""
    with connection.bounded_transaction(rollback=dry_run):
        return make_ready(connection, target, migrate)


def make_ready(connection: psycopg.Connection, target: Target, migrate: bool) -> Target:
    """As `prepare_target`, inside the caller's transaction: a dry run leaves no table behind."""
    resolved = resolve(connection, target)
    prepare(connection, resolved, migrate)
    prepare_memory(connection, resolved)
    return resolved


class ReadyTarget:
    """The target, made ready when it is first needed: that takes half of the round trips of a datum of one row."""

    def __init__(self, opened: Session, target: Target, *, migrate: bool, dry_run: bool) -> None:
        self._opened = opened
        self._target = target
        self._migrate = migrate
        self._dry_run = dry_run
        self._ready: Target | None = None

    def get(self) -> Target:
        """The target with its schema's name; in a dry run as it was given, since nothing is to be made."""
        if self._dry_run:
            return self._target
        if self._ready is None:
            self._ready = self._opened.run(
                lambda connection: prepare_target(connection, self._target, migrate=self._migrate, dry_run=False)
            )
        return self._ready

    def is_ready(self) -> bool:
        """Whether it has been made ready."""
        return self._ready is not None

    def forget(self) -> None:
        """Makes it ready again when it is needed the next time: somebody may have altered the table."""
        self._ready = None


def is_altered(error: DatabaseError) -> bool:
    """Whether the error is what a table gives that is not what it was made ready as."""
    cause = error.__cause__
    return isinstance(cause, psycopg.Error) and (cause.sqlstate or "").startswith(_ALTERED)
