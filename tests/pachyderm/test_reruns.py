"""Files come, go, grow, shrink and break between runs that are killed: the table is what one run from nothing gives."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from pachyderm.spec.reading import read_specs, spec_files
from tests.conftest import ROOT
from tests.pachyderm.test_pipeline import FIRST_WORD
from tests.support.forked import Forks

# Of these 500 take half an hour of one core, of those through the runner, with a process tree per step, six hours.
PLAIN_HISTORIES = 500
RUNNER_HISTORIES = 10
# Most rows of a part, which each run chooses anew; parts of one size do not end where those of the other do.
SHARD_ROWS = (2, 3)
STEADY = [f"steady-{index}.csv" for index in range(6)]
ROWS: LiteralString = "select file, row, question, context, answer from {} order by file, row"


class Bucket:
    """A folder of CSVs that changes at random. Some files stay, so that a prune never removes more than half."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.files: dict[str, list[str]] = {}
        self.serial = 0
        for name in STEADY:
            self.write(name, 1)

    def contexts(self, rows: int) -> list[str]:
        self.serial += 1
        return [f"word{self.serial}x{index} it was." for index in range(rows)]

    def write(self, name: str, rows: int) -> None:
        self._put(name, self.contexts(rows))

    def change(self) -> str:
        """Does one thing to one file, and says what."""
        moving = sorted(set(self.files) - set(STEADY))
        actions: list[Callable[[str], str]] = [self.add]
        if moving:
            actions += [self.edit, self.remove, self.grow, self.shrink, self.break_, self.rename]
        return self.chance.choice(actions)(self.chance.choice(moving) if moving else "")

    def add(self, _: str) -> str:
        self.serial += 1
        name = self.chance.choice(["new-{}.csv", "deep/new {}.csv", "é-{}.CSV", "a.csv.parts/{}.csv"])
        self.write(name.format(self.serial), self.chance.randint(1, 7))
        return "add"

    def edit(self, name: str) -> str:
        self.write(name, max(1, len(self.files[name])))
        return f"edit {name}"

    def remove(self, name: str) -> str:
        (self.folder / name).unlink()
        del self.files[name]
        return f"remove {name}"

    def rename(self, name: str) -> str:
        contexts = self.files[name]
        self.remove(name)
        self.serial += 1
        self._put(f"renamed-{self.serial}.csv", contexts)
        return f"rename {name}"

    def grow(self, name: str) -> str:
        self._put(name, self.files[name] + self.contexts(4))
        return f"grow {name}"

    def shrink(self, name: str) -> str:
        self._put(name, self.files[name][: max(1, len(self.files[name]) - 3)])
        return f"shrink {name}"

    def break_(self, name: str) -> str:
        """A file that ingest refuses; its rows go, as if it were not there."""
        (self.folder / name).write_text("question,context\nonly one field\n")
        self.files[name] = []
        return f"break {name}"

    def _put(self, name: str, contexts: list[str]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own until it is whole, as an upload appears.
        partial = path.with_name(f".{path.name}.upload")
        with partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [["question", "context"], *(["What?", context] for context in contexts)]
            )
        partial.replace(path)
        self.files[name] = contexts


class Mill:
    """Runs all stages over a bucket, into a table of its own, as one or several processes."""

    def __init__(self, folder: Path, bucket: Path, database: str, table: str) -> None:
        self.folder, self.bucket, self.database, self.table = folder, bucket, database, table
        self.shard_rows = SHARD_ROWS[0]
        folder.mkdir()

    def commands(self) -> list[list[str]]:
        """The words after `python -m` of each command."""
        raise NotImplementedError

    def run(self, kill_after: Callable[[], float] | None = None) -> None:
        """Each command to its end; with `kill_after`, killed once before."""
        environment = {**os.environ, "DATABASE_URL": self.database}
        for words in self.commands():
            if kill_after:
                self.run_command(words, environment, kill_after())
            code, told = self.run_command(words, environment)
            assert code == 0, told

    def run_command(
        self, words: list[str], environment: dict[str, str], killed_after: float = 0
    ) -> tuple[int | None, str]:
        """Returns the exit code and what was said."""
        raise NotImplementedError

    def rows(self) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(sql.SQL(ROWS).format(sql.Identifier(self.table))).fetchall()


class RunnerMill(Mill):
    """The shipped specs through the local runner; answers with the first word."""

    def commands(self) -> list[list[str]]:
        specs = self.folder / "specs"
        specs.mkdir(exist_ok=True)
        program = self.folder / "first_word.py"
        program.write_text(FIRST_WORD)
        for name, spec in read_specs(spec_files([])).items():
            command = spec["transform"]["cmd"]
            if name.startswith("ingest"):
                command += ["--shard-rows", str(self.shard_rows)]
            elif name.startswith("question-answer"):
                spec["transform"] |= {"datumBatching": False}
                command[:] = ["python", str(program), "/pfs/questions", "/pfs/out"]
            else:
                command += ["--table", self.table]
            (specs / name).write_text(json.dumps(spec))
        words = ["--root", str(self.folder / "root"), "--bucket", str(self.bucket), "--env", "DATABASE_URL"]
        words += ["--without-secret", "answermill-bucket", "--without-secret", "answermill-database"]
        words += ["--env", "GOOGLE_APPLICATION_CREDENTIALS="]
        return [["pachyderm", "run", str(specs), "--tick", *words]]

    def run_command(
        self, words: list[str], environment: dict[str, str], killed_after: float = 0
    ) -> tuple[int | None, str]:
        """As `Mill.run_command`."""
        command = [sys.executable, "-m", *words]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
            if killed_after:
                time.sleep(killed_after)
                process.kill()
            _, told = process.communicate(timeout=300)
        return process.returncode, told


class PlainMill(Mill):
    """The README's own commands."""

    bundle = Path()
    forks = Forks()

    def commands(self) -> list[list[str]]:
        checked, answers, loaded = (str(self.folder / name) for name in ("checked", "answers", "loaded"))
        return [
            ["stages.ingest", str(self.bucket), checked, "--shard-rows", str(self.shard_rows)],
            ["stages.answer", checked, answers, "--model", str(self.bundle)],
            ["stages.load", answers, loaded, "--table", self.table],
            ["stages.load", answers, loaded, "--table", self.table, "--prune"],
        ]

    def run_command(
        self, words: list[str], environment: dict[str, str], killed_after: float = 0
    ) -> tuple[int | None, str]:
        """As `Mill.run_command`."""
        log = self.folder / "log"
        log.write_bytes(b"")
        process = self.forks.start(words, environment, log)
        process.join(killed_after or 300)
        process.kill()
        process.join()
        return process.exitcode, log.read_text()


def check_history(kind: type[Mill], folder: Path, database: str, seed: int, longest: float) -> None:
    """Runs are killed within `longest` seconds."""
    chance = random.Random(seed)
    bucket = Bucket(folder / "bucket", chance)
    mill = kind(folder / "mill", bucket.folder, database, f"history_{seed}")
    done: list[str] = []
    for step in range(4):
        killed = chance.random() < 0.6
        mill.shard_rows = chance.choice(SHARD_ROWS)
        mill.run((lambda: chance.uniform(0.01, longest)) if killed else None)
        done.append(f"{'killed run' if killed else 'run'} in parts of {mill.shard_rows}")
        if step < 3:
            done += [bucket.change() for _ in range(chance.randint(1, 4))]
    fresh = kind(folder / "fresh", bucket.folder, database, f"fresh_{seed}")
    fresh.shard_rows = mill.shard_rows
    fresh.run()
    assert mill.rows() == fresh.rows(), (seed, done)
    assert len(fresh.rows()) == sum(map(len, bucket.files.values())), (seed, done)
    for path in (mill.folder, fresh.folder, bucket.folder):
        shutil.rmtree(path)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(RUNNER_HISTORIES))
def test_reruns_through_the_runner_mirror_the_bucket(tmp_path: Path, database: str, seed: int) -> None:
    check_history(RunnerMill, tmp_path, database, seed, longest=3)


def check_plain(folder: Path, database: str, bundle: Path, seeds: Iterable[int]) -> None:
    PlainMill.bundle = bundle
    for seed in seeds:
        check_history(PlainMill, folder, database, seed, longest=0.5)


def test_a_few_reruns_mirror_the_bucket(tmp_path: Path, database: str, int8_bundle: Path) -> None:
    check_plain(tmp_path, database, int8_bundle, range(2))


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_many_reruns_mirror_the_bucket(tmp_path: Path, database: str, int8_bundle: Path) -> None:
    check_plain(tmp_path, database, int8_bundle, range(2, PLAIN_HISTORIES))
