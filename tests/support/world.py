"""What the tests of ticks are about: parts of files, ticks, and the table that the loader fills."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from runtime.errors import DatabaseError
from stages import load
from stages.common.inputs import whole_input
from stages.common.names import Origin
from stages.loading import pruning, ready
from stages.loading.connection import Session, open_session
from stages.loading.options import LoadOptions, arguments
from stages.loading.target import Target
from tests.conftest import ROOT
from tests.support.turns import Turns

WORKERS: int = json.loads((ROOT / "pachyderm/load.pipeline.json").read_text())["parallelismSpec"]["constant"]
Key = tuple[str, int]


@dataclass(frozen=True)
class Version:
    """What a CSV of the bucket holds: rows that all say `text`."""

    text: str
    rows: int


@dataclass(frozen=True)
class Part:
    """A datum: a file, or a part of one."""

    origin: Origin
    text: str
    rows: int

    def rows_made(self) -> dict[Key, str]:
        """The rows of the table that it makes, with their answers."""
        first = self.origin.first_row
        return {(self.origin.file, row): f"{self.text} {row}" for row in range(first, first + self.rows)}


@dataclass
class Tick:
    """One tick: what ingest saw, and how far its jobs are.

    Attributes:
        state: of its load: created, parallel, waiting, serial, success or failed.
        base: the tick whose load is the base of this one's.
        todo: datums of this part of the load that have not begun.
        running: those that have.
        given_up: whether a datum has failed for good.
        prune: the prune, while it runs.
        prune_steps: how many steps it has done.
        prune_tries: how often it has run before.
        late: the step that waits for long.
        pruned: how the prune ended; empty while it has not.
        reprocesses: whether its load has no base, as after `deploy --reprocess load`.

    """

    number: int
    parts: dict[str, Part]
    listed_at: datetime
    folder: Path
    state: str = "created"
    base: "Tick | None" = None
    todo: list[str] = field(default_factory=list)
    running: dict[str, Turns] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    given_up: bool = False
    prune: Turns | None = None
    prune_steps: int = 0
    prune_tries: int = 0
    late: int = 0
    pruned: str = ""
    reprocesses: bool = False

    def table(self) -> dict[Key, str]:
        """The table after this tick and no other."""
        return {key: answer for part in self.parts.values() for key, answer in part.rows_made().items()}


@dataclass
class World:
    """What all orders share: a table, sessions to use in turn, and how many loads may run at once.

    Attributes:
        sessions: those that nothing uses now.
        reader: looks at the table.

    """

    table: str
    reader: psycopg.Connection[tuple[object, ...]]
    workers: int = WORKERS
    sessions: list[Session] = field(default_factory=list)

    def clear(self) -> None:
        """Empties the table and the memory."""
        names = (sql.Identifier(self.table), sql.Identifier(f"{self.table}_file"))
        self.reader.execute(sql.SQL("truncate {}, {}").format(*names))

    def rows(self) -> dict[Key, str]:
        """The table."""
        query = sql.SQL("select file, row, answer from {}").format(sql.Identifier(self.table))
        return {(str(file), int(str(row))): str(answer) for file, row, answer in self.reader.execute(query)}

    def entries(self) -> dict[Origin, int]:
        """The memory: how many rows each file or part has."""
        query = sql.SQL("select file, first_row, rows from {}").format(sql.Identifier(f"{self.table}_file"))
        return {Origin(str(f), int(str(first))): int(str(rows)) for f, first, rows in self.reader.execute(query)}

    def work(self, do: Callable[[Session, Target, LoadOptions], int], source: Path, target: Path, *words: str) -> Turns:
        """Begins one of the loader's works; it stops before its first transaction."""
        options = replace(options_of(self.table, *words), input=source, output=target)
        session = self.sessions.pop() if self.sessions else open_session("tick", 0)
        return Turns(lambda opened: do(opened, load.target_of(options), options), session, self.sessions)


def made_world(database: str, table: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A table; the orders share it, and what is the same for each of them is done once."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("PGOPTIONS", "-c synchronous_commit=off")
    options = options_of(table)
    opened = open_session(table, 0)
    resolved = opened.run(
        lambda connection: ready.prepare_target(connection, load.target_of(options), migrate=False, dry_run=False)
    )
    monkeypatch.setattr(ready, "prepare_target", lambda *_, **__: resolved)
    # The last tick of an order is an hour later by its listing alone: nobody waits for it.
    monkeypatch.setattr(pruning, "_check_clock", lambda *_: None)
    with psycopg.connect(database, autocommit=True) as reader:
        world = World(table, reader, sessions=[opened])
        yield world
        for session in world.sessions:
            session.close()


@cache
def options_of(table: str, *words: str) -> LoadOptions:
    """The loader's, for this table."""
    return arguments(["in", "out", "--table", table, "--on-bad-row", "fail", *words])


def load_datum(opened: Session, target: Target, options: LoadOptions) -> int:
    """What a pod does with one datum."""
    try:
        made = ready.ReadyTarget(opened, target, migrate=False, dry_run=False)
        return len(load.load_files(opened, made, whole_input(options.input), options))
    except DatabaseError as error:
        assert "after this datum began" in str(error)
        return 1
