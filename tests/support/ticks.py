"""Ticks of the pipelines in any order that Pachyderm permits: ingest, load of each datum, prune, failures, repeats.

What Pachyderm promises, and nothing else; from its source (2.x, src/server/worker/pipeline/transform, `registry.go` and
`pending_job.go`) and seen on 2.12.2:

- The pipelines of one tick run in their order; a pipeline of a tick whose upstream failed does not run.
- Jobs of one pipeline start in their order (`startJob` is called by turns), no more at a time than the pipeline has
  workers (`limiter`), and a job gives up its place when its output commit is finished (`superviseJob`).
- A job has a base: the last job before it that has not failed when this one starts; it may still run (`load`).
- First come the datums whose paths the base does not have (`withParallelDatums`), beside whatever the base is doing.
- Then it waits for the base (`withSerialDatums`). If that has failed meanwhile, the job begins anew, with another base,
  and does all of it again. Else come the datums that both have; those with the same content are skipped.
- A datum is tried three times. The others of its part go on, then the job fails. It may also be killed, or begin anew
  for a reason of its own, such as a pod that dies.
- A pod that nothing reaches any more is given up, and another does its datum again. It may stand still for ticks, and
  then go on where it was, since nobody could end it; only what it would ask the worker for it never gets.
- A job that has failed may have loaded some of its datums. The next one skips what its base has, whatever is in the
  table meanwhile: that prune must notice. Then `deploy --reprocess load` kills the jobs of load that are under way, and
  loads all of the newest tick.
- `prune` never skips, so that each waits for the one before; of different pipelines no job waits for another's, and
  `prune` may be as late as it likes.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from stages.common.names import origin_of, part_path
from stages.loading.digests import digest_path, touch
from stages.loading.pruning import prune
from tests.support.loading import row_of, write_rows
from tests.support.turns import Turns
from tests.support.world import Key, Part, Tick, Version, World, load_datum

TRIES = 3
ENDED = ("success", "failed")


class Cluster:
    """Runs ticks over a bucket that changes, one transaction at a time."""

    def __init__(self, folder: Path, world: World, chance: random.Random) -> None:
        self.folder, self.world, self.chance = folder, world, chance
        self.bucket = {"steady.csv": Version("steady", 1)}
        self.buckets: list[dict[str, Version]] = []
        self.shard_rows = 3
        # How often a step is killed.
        self.faults = chance.choice([0.0, 0.03, 0.1])
        # How far ingest's clock is before the database's.
        self.margin = chance.choice([0, 0, 5])
        self.skew = timedelta(seconds=chance.choice([-self.margin, 0, self.margin]))
        # Whether one file only comes and goes; whether a tick begins when the loads of others have ended, or any time.
        self.flickers = chance.random() < 0.4
        self.waits = chance.random() < 0.5
        # Loads that Pachyderm has given up, and that may go on.
        self.sleepers: list[tuple[Tick, str, Turns]] = []
        self.ticks: list[Tick] = []
        self.log: list[str] = []
        # The tick that loaded a row last, or found it as it should be.
        self.writer: dict[Key, int] = {}
        self._rows: dict[Key, str] = {}

    def run(self, ticks: int) -> None:
        """So many ticks over a bucket that changes, then a quiet one, whose prune settles what others have spared."""
        while self._go_on(ticks):
            pass
        self.faults = 0.0
        # Much later, so that what was too new for the prunes before is not for this one.
        self._ingest(timedelta(hours=1))
        while self._go_on(0):
            pass
        last = self.ticks[-1]
        assert last.pruned == "success", self.log
        assert self.world.rows() == last.table(), self.log
        assert self.world.entries() == {part.origin: part.rows for part in last.parts.values()}, self.log
        assert not list(self.folder.rglob("rejected")), self.log

    def _go_on(self, ticks: int) -> bool:
        """Does one thing. Whether there was one."""
        choices = list(self._actions())
        if len(self.ticks) < ticks and (not self.waits or self._loads_have_ended()):
            choices.append((1 if self.waits else 0.2, self._tick))
        if choices:
            self.chance.choices([do for _, do in choices], [weight for weight, _ in choices])[0]()
        return bool(choices)

    def _tick(self) -> None:
        if self._loads_have_ended():
            # `deploy` with another --shard-rows waits for the jobs.
            self.shard_rows = self.chance.choice([2, 3, 3, 4])
        self._change()
        self._ingest()

    def _loads_have_ended(self) -> bool:
        return all(tick.state in ENDED for tick in self.ticks)

    # The bucket

    def _change(self) -> None:
        """Some files of the bucket come, go, come back, change, grow or shrink; or all is as it was once."""
        if self.buckets and self.chance.random() < 0.2:
            self.bucket = dict(self.chance.choice(self.buckets))
            return
        if self.flickers:
            if self.bucket.pop("a.csv", None) is None:
                self.bucket["a.csv"] = Version("old", 2)
            return
        for name in self.chance.choices(["a.csv", "deep/b.csv"], [2, 1], k=self.chance.randint(1, 2)):
            there = self.bucket.get(name)
            rows = self.chance.choice([1, 2, 5, 8])
            if there is None or self.chance.random() < 0.3:
                # An old text: a file that comes back as it was.
                text = self.chance.choice([f"v{len(self.ticks) + 1}", "old", "old"])
                self.bucket[name] = Version(text, rows)
            elif self.chance.random() < 0.5:
                del self.bucket[name]
            else:
                self.bucket[name] = Version(there.text, rows)

    def _ingest(self, later: timedelta | None = None) -> None:
        """A tick: the listing, and what is in it."""
        number = len(self.ticks) + 1
        self.buckets.append(dict(self.bucket))
        parts = {}
        for name, version in self.bucket.items():
            for first in range(1, version.rows + 1, self.shard_rows):
                path = part_path(name, first)
                parts[path] = Part(origin_of(path), version.text, min(self.shard_rows, version.rows - first + 1))
        listed_at = datetime.now(UTC) + (later or self.skew)
        tick = Tick(number, parts, listed_at, self.folder / f"tick-{number}", late=self.chance.randrange(5))
        if self._fails():
            tick.state = "failed"
        self.ticks.append(tick)
        self._say(f"ingest {number} lists {', '.join(f'{path} {p.text} {p.rows}' for path, p in parts.items())}")

    # What may happen next

    def _actions(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """Everything that Pachyderm permits now, and how likely it is."""
        in_flight = [tick for tick in self.ticks if tick.state not in (*ENDED, "created")]
        created = next((tick for tick in self.ticks if tick.state == "created"), None)
        if created and len(in_flight) < self.world.workers:
            yield 1, partial(self._start, created)
        for tick in in_flight:
            yield from ((1, act) for act in self._load_actions(tick))
            if self.faults:
                yield self.faults, partial(self._begin_anew, tick)
                yield self.faults / 4, partial(self._end, tick, "failed")
                for path, turns in tick.running.items():
                    if turns.steps:
                        # It has looked at the clock.
                        yield self.faults, partial(self._fall_asleep, tick, path)
        for sleeper in self.sleepers:
            yield 0.1, partial(self._wake, *sleeper)
        for tick in self.ticks:
            # One step of each prune is late.
            weight = 0.05 if tick.prune_steps == tick.late else 1
            if tick.prune:
                yield weight, partial(self._step_prune, tick, tick.prune)
            elif tick.state == "success" and not tick.pruned and self._prunes_before_ended(tick):
                yield weight, partial(self._begin_prune, tick)

    def _load_actions(self, tick: Tick) -> Iterator[Callable[[], None]]:
        for path, turns in tick.running.items():
            yield partial(self._step_load, tick, path, turns)
        for path in tick.todo:
            yield partial(self._begin_load, tick, path)
        if tick.running or tick.todo:
            return
        if tick.state == "parallel":
            yield partial(self._end_parallel, tick)
        elif tick.state == "serial":
            yield partial(self._end, tick, "failed" if tick.given_up else "success")
        elif tick.base and tick.base.state == "failed":
            yield partial(self._begin_anew, tick)
        elif tick.base and tick.base.state == "success":
            yield partial(self._begin_serial, tick, tick.base)

    def _prunes_before_ended(self, tick: Tick) -> bool:
        return all(before.pruned or before.state == "failed" for before in self.ticks[: tick.number - 1])

    # Load

    def _start(self, tick: Tick) -> None:
        before = () if tick.reprocesses else reversed(self.ticks[: tick.number - 1])
        tick.base = next((t for t in before if t.state != "failed"), None)
        tick.state, tick.given_up = "parallel", False
        tick.tries.clear()
        self._set_todo(tick, [path for path in tick.parts if not tick.base or path not in tick.base.parts])
        self._say(f"load {tick.number} starts, base {tick.base and tick.base.number}")

    def _begin_anew(self, tick: Tick) -> None:
        self._kill(tick)
        self._start(tick)

    def _end_parallel(self, tick: Tick) -> None:
        if tick.given_up:
            self._end(tick, "failed")
        elif tick.base is None:
            self._end(tick, "success")
        else:
            tick.state = "waiting"

    def _begin_serial(self, tick: Tick, base: Tick) -> None:
        tick.state = "serial"
        both = {path: part for path, part in tick.parts.items() if path in base.parts}
        self._set_todo(tick, [path for path, part in both.items() if base.parts[path] != part])
        for path, part in both.items():
            if base.parts[path] == part:
                self._own(tick, path)
                self._say(f"load {tick.number} skips {path}")

    def _set_todo(self, tick: Tick, paths: list[str]) -> None:
        tick.todo = paths
        self.chance.shuffle(tick.todo)

    def _begin_load(self, tick: Tick, path: str) -> None:
        tick.todo.remove(path)
        same = [other.number for other in self.ticks if path in other.running]
        assert not same, f"load {tick.number} and {same} have {path} at once: {self.log}"
        tick.running[path] = self.world.work(load_datum, self._datum(tick, path), tick.folder / "out")
        self._say(f"load {tick.number} begins {path}")

    def _datum(self, tick: Tick, path: str) -> Path:
        """The folder with the datum's answered CSV."""
        part, source = tick.parts[path], tick.folder / "datums" / path.replace("/", "%")
        if not source.exists():
            first = part.origin.first_row
            write_rows(source / path, [row_of(row, part.text) for row in range(first, first + part.rows)])
        return source

    def _step_load(self, tick: Tick, path: str, turns: Turns) -> None:
        if self._fails():
            turns.kill()
        elif turns.step():
            return
        del tick.running[path]
        lost = self._lost(lambda key: self.writer.get(key, 0) > tick.number)
        assert not lost, f"load {tick.number} of {path} changed {lost}, which a newer tick had loaded: {self.log}"
        if turns.code == 0:
            self._own(tick, path)
        # The worker may also die before it has said that the datum is done: then the same is done again.
        if turns.code == 0 and not self._fails():
            self._say(f"load {tick.number} ends {path}")
            return
        self._say(f"load {tick.number} fails {path}")
        tick.tries[path] = tick.tries.get(path, 0) + 1
        if tick.tries[path] < TRIES:
            tick.todo.append(path)
        else:
            tick.given_up = True

    def _fall_asleep(self, tick: Tick, path: str) -> None:
        self.sleepers.append((tick, path, tick.running.pop(path)))
        tick.todo.append(path)
        self._say(f"load {tick.number} of {path} stands still")

    def _wake(self, tick: Tick, path: str, turns: Turns) -> None:
        """What stood still goes on to its end."""
        self.sleepers.remove((tick, path, turns))
        while turns.step():
            pass
        lost = self._lost(lambda key: self.writer.get(key, 0) > tick.number)
        assert not lost, f"load {tick.number} of {path} woke and changed {lost}, of a newer tick: {self.log}"
        self._say(f"load {tick.number} of {path} goes on, and ends with {turns.code}")

    def _end(self, tick: Tick, state: str) -> None:
        self._kill(tick)
        tick.state = state
        self._say(f"load {tick.number} {state}")

    def _kill(self, tick: Tick) -> None:
        for turns in tick.running.values():
            turns.kill()
        tick.running.clear()
        tick.todo.clear()

    # Prune

    def _begin_prune(self, tick: Tick) -> None:
        tick.prune_steps = 1
        listing, loaded = tick.folder / "listing.json", tick.folder / "loaded"
        if not listing.exists():
            files = {path: {"file": p.origin.file, "first_row": p.origin.first_row} for path, p in tick.parts.items()}
            told = {"version": 1, "listed_at": tick.listed_at.isoformat(), "complete": True, "rejected": {}}
            for path in tick.parts:
                (loaded / path).parent.mkdir(parents=True, exist_ok=True)
                (loaded / path).touch()
                content = (self._datum(tick, path) / path).read_bytes()
                touch(loaded / digest_path(path, hashlib.sha256(content).hexdigest()))
            listing.write_text(json.dumps({**told, "files": files}))
        words = ("--prune", "--prune-all", "--listing", str(listing), "--clock-margin", str(self.margin))
        tick.prune = self.world.work(prune, loaded, tick.folder / "pruned", *words)
        self._say(f"prune {tick.number} begins")

    def _step_prune(self, tick: Tick, turns: Turns) -> None:
        tick.prune_steps += 1
        if self._fails():
            turns.kill()
        elif turns.step():
            return
        tick.prune = None
        lost = self._lost(lambda key: self.writer.get(key, 0) >= tick.number)
        assert not lost, f"prune {tick.number} deleted {lost}, which its tick or a newer one had loaded: {self.log}"
        if turns.code == 1:
            entries = self.world.entries()
            wrong = [
                path
                for path, part in tick.parts.items()
                if entries.get(part.origin) != part.rows or not part.rows_made().items() <= self._rows.items()
            ]
            assert wrong, f"prune {tick.number} says that rows are lost, and none is: {self.log}"
            tick.pruned = "failed"
            self._say(f"prune {tick.number} names {wrong}")
            self._reprocess()
            return
        # A job that has ended may be made again, by a deploy.
        tick.prune_steps = 0
        tick.prune_tries += 1
        if turns.code == 0 and not self._fails():
            tick.pruned = "success"
        elif tick.prune_tries >= TRIES:
            tick.pruned = "failed"
        self._say(f"prune {tick.number} ends: {tick.pruned or 'to run again'}")

    def _reprocess(self) -> None:
        """What prune tells the operator to do."""
        for tick in self.ticks:
            if tick.state not in ENDED:
                self._end(tick, "failed")
        last = self.ticks[-1]
        number = last.number + 1
        again = Tick(number, last.parts, last.listed_at, self.folder / f"tick-{number}", reprocesses=True)
        self.ticks.append(again)
        self._say(f"load of {last.number} is processed again, as {number}")

    # The table

    def _own(self, tick: Tick, path: str) -> None:
        """Notes that a tick has seen to it that the rows of a datum are as they should be."""
        rows = tick.parts[path].rows_made()
        self.writer |= {key: max(tick.number, self.writer.get(key, 0)) for key in rows}

    def _lost(self, is_protected: Callable[[Key], bool]) -> dict[Key, str]:
        """Rows that were there before the last step, and are not, or are others, although they are protected."""
        before, self._rows = self._rows, self.world.rows()
        return {key: was for key, was in before.items() if self._rows.get(key) != was and is_protected(key)}

    def _say(self, line: str) -> None:
        self.log.append(line)

    def _fails(self) -> bool:
        return self.chance.random() < self.faults
