"""The shipped specs with the real stages: a folder as the bucket, a PostgreSQL server as the database."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pachyderm.local.runner import Options, run
from pachyderm.local.store.journal import Job
from pachyderm.local.store.store import Store
from pachyderm.local.worker.mapping import LocalMapping
from pachyderm.spec.reading import RawSpec, fill_in, read_specs, spec_files
from tests.conftest import ROOT, SAMPLES
from tests.support.pachyderm_kit import Bench

# Answers with the first word of the context: what is under test is which files are answered.
FIRST_WORD = """
import csv, os, sys
for folder, _, names in os.walk(sys.argv[1], followlinks=True):
    for name in names:
        path = os.path.join(folder, name)
        target = os.path.join(sys.argv[2], os.path.relpath(path, sys.argv[1]))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(path, newline="") as file, open(target, "w", newline="") as out:
            rows = csv.DictReader(file)
            added = ["answer", "score", "start", "end", "error", "model"]
            writer = csv.DictWriter(out, [*rows.fieldnames, *added], lineterminator="\\n")
            writer.writeheader()
            for row in rows:
                word = row["context"].split()[0]
                writer.writerow({**row, "answer": word, "score": 0.5, "start": 0, "end": len(word), "model": "first"})
"""
ALL_DONE = {"ingest": "success", "question-answer": "success", "load": "success", "prune": "success"}


class Mill:
    """The shipped specs on a bucket of CSVs, loading into a database."""

    def __init__(self, folder: Path, database: str) -> None:
        self.bucket = folder / "bucket"
        self.bucket.mkdir()
        self.root = folder / "root"
        self.database = database
        self.folder = folder
        program = folder / "first_word.py"
        program.write_text(FIRST_WORD)
        specs = read_specs(spec_files([]))
        self.specs = {name: fill_in(spec, bucket=str(self.bucket)) for name, spec in specs.items()}
        answer = self.specs["question-answer.pipeline.json"]["transform"]
        answer["datumBatching"] = False
        answer["cmd"] = ["python", str(program), "/pfs/questions", "/pfs/out"]

    def put(self, name: str, *contexts: str) -> None:
        path = self.bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["question", "context"])
            writer.writerows(["What?", context] for context in contexts)

    def place(self) -> LocalMapping:
        return LocalMapping(
            without=frozenset(["answermill-bucket", "answermill-database"]),
            environment={"DATABASE_URL": self.database, "GOOGLE_APPLICATION_CREDENTIALS": None},
        )

    def run(self, place: LocalMapping | None = None, specs: dict[str, RawSpec] | None = None) -> dict[str, Job]:
        options = Options(self.root, specs or self.specs, place or self.place(), tick=True)
        return {job.pipeline: job for job in run(options)}

    def answers(self) -> dict[str, list[str]]:
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("select file, answer from question_answer order by file, row").fetchall()
        found: dict[str, list[str]] = {}
        for file, answer in rows:
            found.setdefault(file, []).append(answer)
        return found


@pytest.fixture
def mill(tmp_path: Path, database: str) -> Mill:
    return Mill(tmp_path, database)


def counts(jobs: dict[str, Job], *names: str) -> list[dict[str, int]]:
    return [dict(jobs[name].counts) for name in names or ("question-answer", "load")]


def test_from_the_bucket_to_the_database_and_only_what_changed(mill: Mill) -> None:
    mill.put("a.csv", "one x", "two x")
    mill.put("deep/b.csv", "three x")
    jobs = mill.run()
    assert {name: job.state for name, job in jobs.items()} == ALL_DONE
    assert mill.answers() == {"a.csv": ["one", "two"], "deep/b.csv": ["three"]}

    jobs = mill.run()
    assert {name: job.state for name, job in jobs.items()} == ALL_DONE
    assert counts(jobs) == [{"skipped": 2}, {"skipped": 2}]

    mill.put("c.csv", "four x")
    assert counts(mill.run()) == [{"skipped": 2, "processed": 1}] * 2
    assert mill.answers() == {"a.csv": ["one", "two"], "c.csv": ["four"], "deep/b.csv": ["three"]}

    mill.put("a.csv", "five x")
    assert counts(mill.run()) == [{"skipped": 2, "processed": 1}] * 2
    assert mill.answers() == {"a.csv": ["five"], "c.csv": ["four"], "deep/b.csv": ["three"]}

    (mill.bucket / "c.csv").unlink()
    assert counts(mill.run()) == [{"skipped": 2}] * 2
    assert mill.answers() == {"a.csv": ["five"], "deep/b.csv": ["three"]}


def test_a_renamed_file_leaves_no_rows_under_its_old_name(mill: Mill) -> None:
    """The folder that prune sees hashes the same as before, since hashes of folders leave names out."""
    mill.put("a.csv", "one x")
    mill.put("b.csv", "two x")
    mill.run()
    (mill.bucket / "b.csv").rename(mill.bucket / "c.csv")
    mill.run()
    assert mill.answers() == {"a.csv": ["one"], "c.csv": ["two"]}


def test_a_file_that_breaks_a_rule_holds_nobody_up(mill: Mill) -> None:
    mill.put("good.csv", "one x")
    (mill.bucket / "bad.csv").write_text("question,context\nonly one field\n")
    jobs = mill.run()
    assert {name: job.state for name, job in jobs.items()} == ALL_DONE
    assert mill.answers() == {"good.csv": ["one"]}
    ingested = Store(mill.root).repo("ingest").head()
    note = json.loads(ingested.path_of("/rejected/bad.csv.json").read_text())
    assert (note["object"], note["row"]) == ("bad.csv", 1)


def test_an_emptied_bucket_deletes_no_rows(mill: Mill) -> None:
    """No file, no datum, no prune: a prefix that was emptied by mistake costs nothing."""
    mill.put("a.csv", "one x")
    mill.run()
    (mill.bucket / "a.csv").unlink()
    jobs = mill.run()
    assert counts(jobs, "prune") == [{}]
    assert mill.answers() == {"a.csv": ["one"]}


def test_ten_appended_rows_are_one_shard_to_answer(mill: Mill) -> None:
    """Ten rows that are appended to twenty thousand change one shard."""
    contexts = [f"word{index} x" for index in range(19_995)]
    mill.put("big.csv", *contexts)
    assert counts(mill.run()) == [{"processed": 4}] * 2
    mill.put("big.csv", *contexts, *(f"more{index} x" for index in range(5)))
    assert counts(mill.run()) == [{"skipped": 3, "processed": 1}] * 2
    mill.put("big.csv", *contexts, *(f"more{index} x" for index in range(15)))
    assert counts(mill.run()) == [{"skipped": 4, "processed": 1}] * 2
    answers = mill.answers()
    assert sum(map(len, answers.values())) == 20_010
    assert sorted(answers)[0] == "big.csv"


def test_a_run_goes_on_after_the_database_was_away(mill: Mill) -> None:
    """The job fails while the database is away; the next run goes on from there."""
    mill.put("a.csv", "one x")
    for name in ("load.pipeline.json", "prune.pipeline.json"):
        mill.specs[name]["datumTries"] = 1
    nowhere = LocalMapping(
        without=mill.place().without,
        environment={"DATABASE_URL": f"postgresql:///x?host={mill.folder}/nowhere&connect_timeout=1"},
    )
    waiting = {**mill.specs, "load.pipeline.json": without_waiting(mill.specs["load.pipeline.json"])}
    jobs = mill.run(nowhere, waiting)
    assert {name: job.state for name, job in jobs.items()} == {
        "ingest": "success",
        "question-answer": "success",
        "load": "failure",
        "prune": "unrunnable",
    }
    jobs = mill.run()
    assert counts(jobs) == [{"skipped": 1}, {"processed": 1}]
    assert mill.answers() == {"a.csv": ["one"]}


def without_waiting(spec: RawSpec) -> RawSpec:
    """The same, killed before it has waited long for its server."""
    return {**spec, "datumTimeout": "10s"}


def test_the_secret_says_where_the_database_is(mill: Mill) -> None:
    """As on a cluster: nothing is given but the folder with the secret's files."""
    mill.put("a.csv", "one x")
    info = psycopg.conninfo.conninfo_to_dict(mill.database)
    secret = mill.folder / "secrets/answermill-database"
    secret.mkdir(parents=True)
    lines = [f"{key}={value}" for key, value in info.items() if value not in (None, "")]
    (secret / "pg_service.conf").write_text("\n".join(["[answermill]", *lines, ""]))
    place = LocalMapping(
        secrets=mill.folder / "secrets",
        without=frozenset(["answermill-bucket"]),
        environment={"GOOGLE_APPLICATION_CREDENTIALS": None},
    )
    assert {name: job.state for name, job in mill.run(place).items()} == ALL_DONE
    assert mill.answers() == {"a.csv": ["one"]}


def test_a_repo_filled_by_hand_instead_of_a_bucket(tmp_path: Path, database: str) -> None:
    mill = Mill(tmp_path, database)
    mill.put("a.csv", "one x")
    specs = {name: spec for name, spec in mill.specs.items() if name != "ingest.pipeline.json"}
    jobs = {job.pipeline: job for job in run(Options(mill.root, specs, mill.place(), {"ingest": mill.bucket}))}
    assert {name: job.state for name, job in jobs.items()} == {k: v for k, v in ALL_DONE.items() if k != "ingest"}
    assert mill.answers() == {"a.csv": ["one"]}


def test_the_command_line_with_the_real_model(tmp_path: Path, database: str, int8_bundle: Path) -> None:
    """Untouched specs: batching, the bundle, everything."""
    words = [sys.executable, "-m", "pachyderm", "run", "--tick", "--root", str(tmp_path / "root")]
    words += ["--bucket", str(SAMPLES / "field-guides"), "--map", f"/model={int8_bundle}", "--json"]
    words += ["--env", "DATABASE_URL", "--env", "GOOGLE_APPLICATION_CREDENTIALS="]
    words += ["--without-secret", "answermill-bucket", "--without-secret", "answermill-database"]
    states = []
    for _ in range(2):
        environment = {**os.environ, "DATABASE_URL": database}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        states.append({job["pipeline"]: job["counts"] for job in json.loads(done.stdout)})
    assert states[0]["question-answer"] == states[0]["load"] == {"processed": 1}
    assert states[1]["question-answer"] == states[1]["load"] == {"skipped": 1}
    with psycopg.connect(database) as connection:
        row = connection.execute("select count(*), count(answer), min(file) from question_answer").fetchone()
    with (SAMPLES / "field-guides/birds-and-trees.csv").open(newline="") as file:
        rows = len(list(csv.DictReader(file)))
    assert row is not None
    assert (row[0], row[2]) == (rows, "birds-and-trees.csv")
    assert row[1] > rows / 2


def test_a_stage_finds_its_package_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bench = Bench(tmp_path)
    bench.put("a", "1")
    transform = {"image": "test:1", "cmd": ["python", "-m", "stages.load", "--help"]}
    pfs = {"name": "in", "repo": "src", "glob": "/*"}
    helped = {"pipeline": {"name": "help"}, "input": {"pfs": pfs}, "transform": transform}
    assert bench.run(helped)["help"].state == "success"
