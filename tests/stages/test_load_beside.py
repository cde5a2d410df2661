"""`load --prune` beside other loads of the same folder, while files come, change and go: the folder is the table."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
import pytest

from stages.loading.pruning import prune
from tests.support.loading import run_load, versions_of, write_version
from tests.support.turns import Turns
from tests.support.waiting import until
from tests.support.world import World, load_datum, made_world

ORDERS = 60
NAMES = ("a.csv", "b.csv", "c.csv")


@pytest.fixture
def world(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield from made_world(database, "beside", monkeypatch)


class Folder:
    """A folder that two loads and a prune read, each in a process of its own, while it changes."""

    def __init__(self, folder: Path, world: World, chance: random.Random) -> None:
        self.input, self.world, self.chance = folder / "in", world, chance
        self.changes = 0
        self.loads: dict[str, Turns | None] = {"out-1": None, "out-2": None}
        self.prune: Turns | None = None
        # How far the prune that is under way is, and what it saw.
        self.prune_steps = 0
        self.seen: set[str] = set()
        self.rows: dict[str, int] = {}
        self.log: list[str] = []
        self.write("a.csv")

    def write(self, name: str) -> None:
        """A newer version of a file, put in its place in one step."""
        self.changes += 1
        write_version(self.input.parent / "new.csv", f"{self.changes:03d}", 2).rename(self._made(name))
        self.log.append(f"write {self.changes} to {name}")

    def _made(self, name: str) -> Path:
        self.input.mkdir(exist_ok=True)
        return self.input / name

    def remove(self, name: str) -> None:
        (self.input / name).unlink()
        self.log.append(f"remove {name}")

    def actions(self) -> Iterator[Callable[[], None]]:
        """What may happen next."""
        there = [path.name for path in self.input.iterdir()]
        yield partial(self.write, self.chance.choice(NAMES))
        if len(there) > 1:
            yield partial(self.remove, self.chance.choice(sorted(there)))
        for output, turns in self.loads.items():
            yield partial(self.step_load, output, turns)
        yield self.step_prune

    def step_load(self, output: str, turns: Turns | None) -> None:
        """Begins a load, or takes it one transaction further."""
        if turns is None:
            self.loads[output] = self.world.work(load_datum, self.input, self.input.parent / output)
        elif not turns.step():
            self.loads[output] = None
        self.log.append(f"load into {output} {'begins' if turns is None else 'steps'}")
        before, now = self.rows, self.table()
        older = {name: (was, now.get(name)) for name, was in before.items() if now.get(name, 0) < was}
        assert not older, f"load replaced a newer version: {older}: {self.log}"

    def step_prune(self) -> None:
        """Begins a prune, or takes it one transaction further."""
        self.log.append("prune begins" if self.prune is None else "prune steps")
        before = self.rows
        if self.prune is None:
            self.prune = self.world.work(prune, self.input, self.input.parent / "out", "--prune", "--prune-all")
            self.prune_steps, self.seen = 0, set()
        else:
            self.prune_steps += 1
            if self.prune_steps == 2:
                # It has just looked at the clock, and walks.
                self.seen = {path.name for path in self.input.iterdir()}
            if not self.prune.step():
                assert self.prune.code == 0
                self.prune = None
        gone = before.keys() - self.table().keys()
        assert not gone & self.seen, f"prune deleted {gone}, which was there: {self.log}"

    def table(self) -> dict[str, int]:
        """Which version of each file the table has."""
        self.rows = {file: int(answer.split()[0]) for (file, _), answer in self.world.rows().items()}
        return self.rows

    def settle(self) -> None:
        """Ends what is under way, then loads and prunes once more."""
        for turns in (*self.loads.values(), self.prune):
            while turns and turns.step():
                pass
        for do, words in ((load_datum, ()), (prune, ("--prune", "--prune-all"))):
            turns = self.world.work(do, self.input, self.input.parent / "out-1", *words)
            while turns.step():
                pass
            assert turns.code == 0, self.log
        written = {
            path.name: path.read_text().count(f'"{self.table().get(path.name, 0):03d}"')
            for path in self.input.iterdir()
        }
        assert written == dict.fromkeys(self.rows, 2), self.log


def test_loads_and_prunes_beside_each_other_lose_nothing(world: World, tmp_path: Path) -> None:
    """No row goes whose file the prune has seen, no older version replaces a newer one, and all ends as the folder."""
    for seed in range(ORDERS):
        world.clear()
        (tmp_path / str(seed)).mkdir()
        folder = Folder(tmp_path / str(seed), world, random.Random(seed))
        for _ in range(40):
            folder.chance.choice(list(folder.actions()))()
        folder.settle()


@pytest.mark.parametrize(
    ("now", "code", "left"), [("new", 0, {"new": 2}), ("broken", 1, {"old": 2}), ("gone", 1, {"old": 2})]
)
def test_a_loader_that_waited_takes_what_is_there(
    database: str, tmp_path: Path, now: str, code: int, left: dict[str, int]
) -> None:
    """It had opened an older version before it waited for another loader of the same file."""
    path = write_version(tmp_path / "in/a.csv", "old", 2)
    write_version(tmp_path / "in/b.csv", "old", 2)
    assert run_load(database, tmp_path / "in", tmp_path / "out") == 0
    with psycopg.connect(database) as other, ThreadPoolExecutor(1) as thread:
        other.execute("select pg_advisory_xact_lock(hashtextextended('a.csv', 1))")
        write_version(tmp_path / "in/b.csv", "newer", 2)
        loading = thread.submit(run_load, database, tmp_path / "in", tmp_path / "out")
        query = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        with psycopg.connect(database, autocommit=True) as watcher:
            until(lambda: watcher.execute(query).fetchone() == (1,))
        path.unlink()
        if now != "gone":
            write_version(path, now, 2)
        if now == "broken":
            path.write_bytes(path.read_bytes()[:-9])
        other.rollback()
        assert loading.result() == code
    assert versions_of(database) == {"a.csv": left, "b.csv": {"newer": 2}}
