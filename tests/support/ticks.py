"""Ticks of the pipelines in any order that Pachyderm permits: ingest, load of each datum, prune, failures, repeats.

What Pachyderm promises, and nothing else (its worker's source; section and behaviour seen on 2.12.2):

- The pipelines of one tick run in their order; a pipeline of a tick whose upstream failed does not run.
- Jobs of one pipeline begin and end in their order, and no more are under way than the pipeline has workers.
- A datum is its path. One that the base job has too, with the same content, is skipped; one that has changed waits
  until the base job has ended; one that the base lacks runs at once, beside the base job's own. The base is the last
  job before that has not failed.
- A datum that fails is tried three times, then its job has failed; one that has succeeded may be run again.
- Pipelines of different ticks do not wait for each other: `prune` may be as late as it likes.
"""

import json
import random
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import sql

from runtime.errors import DatabaseError
from stages import load
from stages.common.names import origin_of, part_path
from stages.loading.connection import Session, open_session
from stages.loading.schema import Target
from stages.loading.waiting import WatchedConnection
from tests.conftest import ROOT
from tests.support.loading import row_of, write_rows

TRIES = 3
# With three jobs under way, a file that is there, gone, and there again is loaded by the first and the third at once:
# the second, which is the base of the third, does not have it. The older version may then end as the newer one's heir.
WORKERS: int = json.loads((ROOT / "pachyderm/load.pipeline.json").read_text())["parallelismSpec"]["constant"]
Key = tuple[str, int]


@dataclass(frozen=True)
class Version:
    """What a CSV of the bucket holds: rows that all say `text`."""

    text: str
    rows: int

    def answers(self) -> list[str]:
        return [f"{self.text} {number}" for number in range(1, self.rows + 1)]


@dataclass(frozen=True)
class Part:
    """A datum: a file, or a part of one."""

    text: str
    first_row: int
    rows: int


class Killed(BaseException):
    """The process ends here."""


class Turns(threading.Thread):
    """Work that stops before each of its transactions until it is told to go on.

    `code` is what the work returned, None before its end and after a kill. Its session goes back to `free`.
    """

    def __init__(self, work: Callable[[Session], int], session: Session, free: list[Session]) -> None:
        super().__init__(daemon=True)
        self.code: int | None = None
        self.session = session
        self._work, self._free = work, free
        self._error: BaseException | None = None
        self._is_killed = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.start()
        self._stopped.acquire()

    def run(self) -> None:
        """In the thread."""
        try:
            self.code = self._work(Stopping(self))
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that gives the turns
            self._error = error
        self._free.append(self.session)
        self._go = self._stopped
        self._stopped.release()

    def wait(self) -> None:
        """In the thread: until the next turn."""
        self._stopped.release()
        self._go.acquire()
        if self._is_killed:
            raise Killed

    def step(self) -> bool:
        """Goes on to the next transaction. Whether there is more to do."""
        if self.is_alive():
            self._go.release()
            self._stopped.acquire()
        if self._error:
            raise self._error
        return self.is_alive() and not self._is_killed and self.code is None

    def kill(self) -> None:
        """Ends it before its next transaction, as SIGKILL would."""
        self._is_killed = True
        self.step()


class Stopping(Session):
    """A session that waits for its turn before each transaction."""

    def __init__(self, turns: Turns) -> None:
        super().__init__({}, 0)
        self._turns = turns

    def run(self, work: Callable[[WatchedConnection], Any]) -> Any:
        """As Session does."""
        self._turns.wait()
        return self._turns.session.run(work)


@dataclass
class Tick:
    """One tick: what ingest saw, and how far its jobs are."""

    number: int
    parts: dict[str, Part]
    folder: Path
    keys: dict[Key, str]
    todo: list[str] = field(default_factory=list)
    running: dict[str, Turns] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    state: str = "running"
    prune: Turns | None = None
    pruned: bool = False


class Cluster:
    """Runs ticks over a bucket that changes, one transaction at a time."""

    def __init__(self, folder: Path, table: str, chance: random.Random) -> None:
        self.folder, self.table, self.chance = folder, table, chance
        self.bucket = {f"steady-{index}.csv": Version("steady", 1) for index in range(2)}
        self.shard_rows = 3
        # How often a step is killed.
        self.faults = 0.05
        self.ticks: list[Tick] = []
        self.log: list[str] = []
        # The tick that wrote a row last.
        self.writer: dict[Key, int] = {}
        self._serial = 0
        self._free: list[Session] = []
        self._reader = open_session("reader", 0)

    # The bucket

    def change(self) -> None:
        """One file of the bucket comes, goes, comes back, changes, grows or shrinks."""
        self._serial += 1
        name = self.chance.choice(["a.csv", "deep/b.csv"])
        there = self.bucket.get(name)
        rows = self.chance.choice([1, 2, 5, 8])
        if there is None or self.chance.random() < 0.3:
            # An old text: a file that comes back as it was.
            self.bucket[name] = Version(self.chance.choice([f"v{self._serial}", "old", "old"]), rows)
        elif self.chance.random() < 0.5:
            del self.bucket[name]
        else:
            self.bucket[name] = Version(there.text, rows)

    def ingest(self) -> None:
        """A tick: the listing, and what is new of it."""
        number = len(self.ticks) + 1
        listed_at = datetime.now(UTC)
        parts = {}
        for name, version in self.bucket.items():
            for first in range(1, version.rows + 1, self.shard_rows):
                rows = min(self.shard_rows, version.rows - first + 1)
                parts[part_path(name, first)] = Part(version.text, first, rows)
        folder = self.folder / f"tick-{number}"
        keys = {(name, row): answer for name, v in self.bucket.items() for row, answer in enumerate(v.answers(), 1)}
        tick = Tick(number, parts, folder, keys)
        for path, part in parts.items():
            content = [row_of(part.first_row + index, part.text) for index in range(part.rows)]
            write_rows(folder / "datums" / path.replace("/", "%") / path, content)
            passed_on = folder / "loaded" / path
            passed_on.parent.mkdir(parents=True, exist_ok=True)
            passed_on.touch()
        files = {
            path: {"file": origin_of(path).file, "first_row": part.first_row, "rows": part.rows}
            for path, part in parts.items()
        }
        listing = {"version": 1, "listed_at": listed_at.isoformat(), "complete": True, "files": files, "rejected": {}}
        (folder / "listing.json").write_text(json.dumps({**listing, "objects": {}}))
        tick.todo = list(parts)
        self.chance.shuffle(tick.todo)
        self.ticks.append(tick)
        self.log.append(f"ingest {number}")

    # What may happen next

    def actions(self) -> Iterator[Callable[[], None]]:
        """Everything that Pachyderm permits now."""
        for tick in self.ticks:
            if tick.state == "running":
                yield from self._load_actions(tick)
            if tick.prune:
                yield partial(self._step_prune, tick, tick.prune)
            elif tick.state == "success" and not tick.pruned and self._prunes_before_ended(tick):
                yield partial(self._begin_prune, tick)

    def _load_actions(self, tick: Tick) -> Iterator[Callable[[], None]]:
        base = self._base(tick)
        if sum(before.state == "running" for before in self.ticks[: tick.number - 1]) >= WORKERS:
            return
        for path, turns in tick.running.items():
            yield partial(self._step_load, tick, path, turns)
        for path in tick.todo:
            before = base.parts.get(path) if base else None
            if base and before and base.state == "running":
                continue
            yield partial(self._skip if before == tick.parts[path] else self._begin_load, tick, path)
        if not (tick.todo or tick.running or (base and base.state == "running")):
            yield partial(self._end, tick, "success")

    def _base(self, tick: Tick) -> Tick | None:
        return next((t for t in reversed(self.ticks[: tick.number - 1]) if t.state != "failed"), None)

    def _prunes_before_ended(self, tick: Tick) -> bool:
        return all(before.pruned or before.state == "failed" for before in self.ticks[: tick.number - 1])

    # Load

    def _skip(self, tick: Tick, path: str) -> None:
        tick.todo.remove(path)
        self.log.append(f"load {tick.number} skips {path}")

    def _begin_load(self, tick: Tick, path: str) -> None:
        tick.todo.remove(path)
        tick.running[path] = self._turns(tick, tick.folder / "datums" / path.replace("/", "%"), load_datum)
        self.log.append(f"load {tick.number} begins {path}")

    def _step_load(self, tick: Tick, path: str, turns: Turns) -> None:
        if self._fails():
            turns.kill()
        elif turns.step():
            return
        del tick.running[path]
        if turns.code == 0:
            part = tick.parts[path]
            for row in range(part.first_row, part.first_row + part.rows):
                self.writer[origin_of(path).file, row] = tick.number
        # The worker may also die before it has said that the datum is done: then the same is done again.
        if turns.code == 0 and not self._fails():
            self.log.append(f"load {tick.number} ends {path}")
            return
        self.log.append(f"load {tick.number} fails {path}")
        tick.tries[path] = tick.tries.get(path, 0) + 1
        tick.todo.append(path)
        if tick.tries[path] == TRIES:
            for other in tick.running.values():
                other.kill()
            self._end(tick, "failed")

    def _end(self, tick: Tick, state: str) -> None:
        tick.running.clear()
        tick.todo.clear()
        tick.state = state
        self.log.append(f"load {tick.number} {state}")

    # Prune

    def _begin_prune(self, tick: Tick) -> None:
        words = ("--prune", "--prune-all", "--listing", str(tick.folder / "listing.json"))
        tick.prune = self._turns(tick, tick.folder / "loaded", load.prune, *words)
        self.log.append(f"prune {tick.number} begins")

    def _step_prune(self, tick: Tick, turns: Turns) -> None:
        if self._fails():
            turns.kill()
        before = self.rows()
        more = turns.step()
        gone = before.keys() - self.rows().keys()
        newer = {key for key in gone if self.writer[key] > tick.number}
        assert not newer, f"prune {tick.number} deleted {newer}, which a newer tick had loaded: {self.log}"
        listed = gone & tick.keys.keys()
        assert not listed, f"prune {tick.number} deleted {listed}, which its own listing has: {self.log}"
        if more:
            return
        assert turns.code in (0, None), f"prune {tick.number} says that rows are lost: {self.log}"
        tick.prune = None
        # A job that has ended may be made again, by a deploy.
        tick.pruned = turns.code == 0 and not self._fails()
        self.log.append(f"prune {tick.number} ends" if tick.pruned else f"prune {tick.number} is to run again")

    # All of it

    def run(self, ticks: int) -> None:
        """So many ticks over a bucket that changes, then a quiet one, which settles what prunes have spared."""
        while self._go_on(ticks):
            pass
        self.faults = 0.0
        while True:
            self.ingest()
            while self._go_on(0):
                pass
            if self.ticks[-1].pruned:
                break
        assert self.rows() == self.ticks[-1].keys, self.log
        assert not list(self.folder.rglob("rejected")), self.log
        for session in (self._reader, *self._free):
            session.close()

    def _go_on(self, ticks: int) -> bool:
        """Does one thing. Whether there was one."""
        choices = list(self.actions())
        if len(self.ticks) < ticks and (not choices or self.chance.random() < 0.1):
            if all(tick.state != "running" for tick in self.ticks) and self.chance.random() < 0.3:
                # `deploy` with another --shard-rows waits for the jobs.
                self.shard_rows = self.chance.randint(2, 4)
            for _ in range(self.chance.randint(1, 2)):
                self.change()
            self.ingest()
        elif choices:
            self.chance.choice(choices)()
        return bool(choices) or len(self.ticks) < ticks

    # The database

    def rows(self) -> dict[Key, str]:
        """The table."""
        query = sql.SQL("select file, row, answer from {}").format(sql.Identifier(self.table))
        try:
            return {
                (file, row): answer for file, row, answer in self._reader.run(lambda found: list(found.execute(query)))
            }
        except DatabaseError:
            return {}

    def _turns(self, tick: Tick, source: Path, work: Callable[[Session, Target, Namespace], int], *words: str) -> Turns:
        options = load.arguments([str(source), str(tick.folder / "out"), "--table", self.table, *words])
        session = self._free.pop() if self._free else open_session("tick", 0)
        return Turns(lambda opened: work(opened, load.target_of(options), options), session, self._free)

    def _fails(self) -> bool:
        return self.chance.random() < self.faults


def load_datum(opened: Session, target: Target, options: Namespace) -> int:
    """What a pod does with one datum."""
    failed, _ = load.load_files(opened, target, options)
    return len(failed)
