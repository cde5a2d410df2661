"""`make deploy` and its relatives, against a pachctl that writes down what it is told."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pachyderm import steps
from pachyderm.errors import PachydermError
from tests.conftest import ROOT
from tests.support.waiting import until

IMAGE = "registry.example/answermill:1.2.0"

# Behaves as Pachyderm 2.12 does, and refuses what that refuses: a pipeline before its secrets and repos, and to delete
# one that another reads. Remembers what exists as files, a pipeline's with its spec, and every call with its stdin.
# STATE/jobs-NAME holds ids of jobs that run; each `list job` ends the first of them.
PACHCTL = """#!PYTHON
import json, os, sys, time
from pathlib import Path

def repos(spec):
    given = spec.get("input", {})
    return [leaf["pfs"]["repo"] for leaf in given.get("cross", [given]) if "pfs" in leaf]


state, words = Path(os.environ["STATE"]), sys.argv[1:]
text = sys.stdin.read() if "-f" in words else ""
with (state / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
count = len((state / "calls").read_text().splitlines())
(state / f"stdin-{count}").write_text(text)
if (state / "silent").exists():
    time.sleep(600)
flaky = state / "flaky"
if flaky.exists() and words[:2] == ["create", "secret"] and (left := int(flaky.read_text())):
    flaky.write_text(str(left - 1))
    sys.exit("rpc error: no")
away = state / "away"
if away.exists():
    sys.exit(away.read_text())
broken = state / "broken"
if broken.exists() and " ".join(words).startswith(broken.read_text()):
    sys.exit("rpc error: no")
verb, kind, *names = words
if verb in ("get", "logs") or words[:2] == ["list", "datum"]:
    answers = {
        "list datum load@bad": '{"datum": {"id": "d1"}, "state": "FAILED"}{"datum": {"id": "d2"}, "state": "SUCCESS"}',
        "get file load.meta@bad:/meta/d1/meta": '{"reason": "exit code 1", "state": "FAILED", "inputs": '
        '[{"fileInfo": {"file": {"path": "/a.csv"}}}]}',
    }
    told = [text for start, text in answers.items() if " ".join(words).startswith(start)]
    sys.exit(print(told[0])) if told else sys.exit("no pods belonging to the rc were found")
if (state / "failed").exists() and words[:4] == ["list", "job", "-p", "load"]:
    sys.exit(print('{"job": {"id": "bad"}, "state": "JOB_FAILURE", "reason": "datum d1 failed"}'))
if verb == "inspect":
    thing = state / f"{kind}-{names[0]}"
    if not thing.exists():
        absent = {"pipeline": 'pipeline "%s" not found', "repo": "repo default/%s not found"}
        sys.exit(absent.get(kind, 'failed to get secret: secrets "%s" not found') % names[0])
    print(json.dumps({"pipeline": {"name": names[0]}, "user_spec_json": thing.read_text()}))
elif verb == "list":
    jobs = state / f"jobs-{names[1]}"
    ids = jobs.read_text().split() if jobs.exists() else []
    for one in ids:
        print(json.dumps({"job": {"id": one}, "state": "JOB_RUNNING"}))
    print(json.dumps({"job": {"id": "old"}, "state": "JOB_SUCCESS"}))
    jobs.write_text(" ".join(ids[1:]))
elif verb == "delete":
    readers = [one.name for one in state.glob("pipeline-*") if names[0] in repos(json.loads(one.read_text() or "{}"))]
    if kind == "pipeline" and readers:
        sys.exit(f"{names[0]} has downstream provenance: {readers}")
    (state / f"{kind}-{names[0]}").unlink()
    time.sleep((state / "slow").exists())
elif kind == "repo":
    (state / f"repo-{names[0]}").touch()
else:
    if "\\\\u" in text:
        sys.exit("found invalid Unicode character escape code")
    spec = json.loads(text)
    name = spec["pipeline"]["name"] if kind == "pipeline" else spec["metadata"]["name"]
    thing = state / f"{kind}-{name}"
    if (verb == "create") == thing.exists():
        sys.exit(f"{kind} {name} already exists" if thing.exists() else f'{kind} "{name}" not found')
    if kind == "pipeline":
        for secret in spec["transform"].get("secrets", []):
            if not (state / f"secret-{secret['name']}").exists():
                sys.exit(f"missing Kubernetes secret {secret['name']}")
        for repo in repos(spec):
            if not ((state / f"repo-{repo}").exists() or (state / f"pipeline-{repo}").exists()):
                sys.exit(f"repo default/{repo} not found")
        spec["pipeline"].setdefault("project", {"name": "default"})
    thing.write_text(json.dumps(spec))
"""


class Cluster:
    """The stand-in, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        pachctl = folder / "bin/pachctl"
        pachctl.parent.mkdir()
        pachctl.write_text(PACHCTL.replace("PYTHON", sys.executable))
        pachctl.chmod(0o755)
        self.path = f"{pachctl.parent}:{os.environ['PATH']}"

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen(
            [sys.executable, "-m", "pachyderm.deploy", *arguments],
            cwd=ROOT,
            env={**variables, "PATH": self.path, "STATE": str(self.state), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> list[str]:
        """All but the questions, since the last time."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not line.startswith(("inspect", "list"))]

    def stdin(self, call: str) -> Any:
        """What the last such call was given."""
        lines = (self.state / "calls").read_text().splitlines()
        index = len(lines) - lines[::-1].index(call)
        return json.loads((self.state / f"stdin-{index}").read_text())

    def forget_calls(self) -> None:
        (self.state / "calls").unlink()

    def has(self, *things: str) -> None:
        for thing in things:
            (self.state / thing).touch()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


SECRETS = ("secret-answermill-bucket", "secret-answermill-database")


def test_a_first_deployment_creates_the_pipelines_in_order(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    done = cluster.run("deploy", "--image", IMAGE, "--bucket", "gs://mine/questions")
    assert done.returncode == 0, done.stderr
    assert cluster.calls() == ["create pipeline -f -"] * 4
    created = [json.loads(path.read_text()) for path in sorted(cluster.state.glob("stdin-*"), key=number) if size(path)]
    assert [spec["pipeline"]["name"] for spec in created] == ["ingest", "question-answer", "load", "prune"]
    assert {spec["transform"]["image"] for spec in created} == {IMAGE}
    assert created[0]["transform"]["cmd"] == ["python", "-m", "stages.ingest", "gs://mine/questions", "/pfs/out"]


def number(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def size(path: Path) -> int:
    return path.stat().st_size


ALL = ["deploy", "--image", IMAGE, "--bucket", "gs://b"]


def test_a_second_deployment_leaves_all_alone(cluster: Cluster) -> None:
    """An update that changes nothing would kill jobs all the same."""
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    done = cluster.run(*ALL, PGHOST="elsewhere")
    assert (done.returncode, cluster.calls()) == (0, [])
    assert done.stderr.count("unchanged; left alone") == 4


def test_specs_reach_pachctl_without_escapes(cluster: Cluster) -> None:
    """Pachyderm refuses the surrogate pairs that ASCII makes of an emoji."""
    cluster.has(*SECRETS)
    done = cluster.run("deploy", "--image", IMAGE, "--bucket", "gs://b/\U0001f600")
    assert done.returncode == 0, done.stderr
    assert "gs://b/\U0001f600" in json.loads((cluster.state / "pipeline-ingest").read_text())["transform"]["cmd"]


def test_a_new_image_updates_every_pipeline(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    assert cluster.run("deploy", "--image", f"{IMAGE}1", "--bucket", "gs://b").returncode == 0
    assert cluster.calls() == ["update pipeline -f -"] * 4


def test_another_bucket_updates_ingest_alone(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    assert cluster.run("deploy", "--image", IMAGE, "--bucket", "gs://other").returncode == 0
    assert cluster.calls() == ["update pipeline -f -"]


def test_running_jobs_are_not_killed_unasked(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    (cluster.state / "jobs-load").write_text("abc def")
    changed = ["deploy", "--image", f"{IMAGE}1", "--bucket", "gs://b"]
    refused = cluster.run(*changed)
    assert refused.returncode == 1
    assert "load@abc, load@def; --wait waits for them, --now kills them" in refused.stderr
    assert cluster.calls() == []


@pytest.mark.parametrize("options", [["--now", "--no-wait"], ["--wait"]])
def test_running_jobs_are_killed_or_awaited_when_asked(cluster: Cluster, options: list[str]) -> None:
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    (cluster.state / "jobs-load").write_text("abc")
    done = cluster.run("deploy", "--image", f"{IMAGE}1", "--bucket", "gs://b", *options)
    assert done.returncode == 0, done.stderr
    assert ("waiting for load@abc" in done.stderr) == (options == ["--wait"])
    assert cluster.calls() == ["update pipeline -f -"] * 4


def test_deploy_waits_for_the_jobs_that_it_makes(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    (cluster.state / "jobs-prune").write_text("abc")
    done = cluster.run(*ALL)
    assert done.returncode == 0
    assert done.stderr.endswith("deploy: waiting for prune@abc\n")


def test_no_wait_leaves_the_jobs_that_it_makes_alone(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    (cluster.state / "jobs-prune").write_text(" ".join(map(str, range(100))))
    done = cluster.run(*ALL, "--no-wait")
    assert done.returncode == 0
    assert "waiting" not in done.stderr
    assert cluster.calls() == ["create pipeline -f -"] * 4
    assert not [call for call in (cluster.state / "calls").read_text().splitlines() if call.startswith("list")]


@pytest.mark.parametrize(
    ("change", "updated"),
    [
        ({"datumHopes": 7}, True),
        ({"transform": {"sandbox": "on"}}, True),
        ({"datumTries": 4}, True),
        # What a server takes for absent, and what is no part of the spec.
        ({"datumHopes": 0, "another": {"inner": []}}, False),
        ({"update": True, "salt": "abc"}, False),
        # Where pachctl's context names another project.
        ({"pipeline": {"name": "load", "project": {"name": "qa"}}}, False),
        ({"datum_tries": "3"}, False),
    ],
)
def test_what_only_the_server_knows_is_a_difference(cluster: Cluster, change: dict[str, Any], updated: bool) -> None:
    """A field of a newer server that somebody has set is set back, and named; what is empty changes nothing."""
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    file = cluster.state / "pipeline-load"
    spec = json.loads(file.read_text())
    transform = spec["transform"] | change.get("transform", {})
    if "datum_tries" in change:
        del spec["datumTries"]
    file.write_text(json.dumps({**spec, **change, "transform": transform}))
    done = cluster.run(*ALL)
    assert cluster.calls() == ["update pipeline -f -"] * updated
    assert ("set back: " in done.stderr) == (updated and "datumTries" not in change)


def test_a_field_that_we_do_not_know_is_not_deployed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name, not left out in silence."""
    monkeypatch.setattr(steps, "read_specs", lambda files: {"x": {"pipeline": {"name": "x"}, "datumHopes": 7}})
    with pytest.raises(PachydermError, match="datumHopes: is not a field"):
        steps.specs_for(IMAGE, "gs://b", None)


@pytest.mark.parametrize("verb", [ALL, ["undeploy"]])
def test_a_failing_question_is_not_taken_for_no(cluster: Cluster, verb: list[str]) -> None:
    cluster.has(*SECRETS)
    (cluster.state / "broken").write_text("inspect")
    done = cluster.run(*verb)
    assert done.returncode == 1
    assert "rpc error: no" in done.stderr
    assert "make secrets" not in done.stderr
    assert cluster.calls() == []


# What pachctl prints without a server, without a login, and on what it finds in the wrong place.
NO_ANSWER = [
    "context deadline exceeded",
    "could not connect to pachd at 127.0.0.1:30650",
    "no authentication token (try logging in)",
    "provided auth token is corrupted or has expired (try logging in again)",
    'failed to port forward: services "pachd" not found',
    'dial tcp: lookup pachyderm.example: host not found; pipeline "else" not found',
]


@pytest.mark.parametrize("told", NO_ANSWER)
@pytest.mark.parametrize("verb", [ALL, ["undeploy"], ["secrets"]], ids=lambda verb: verb[0])
def test_only_the_things_own_absence_is_absence(cluster: Cluster, verb: list[str], told: str) -> None:
    """An undeploy that took such an answer for "nothing is there" did nothing and was content."""
    (cluster.state / "away").write_text(told)
    done = cluster.run(*verb, PGHOST="db")
    assert done.returncode == 1
    assert done.stderr.rstrip("\n").endswith(told)
    assert cluster.calls() == []


def test_a_server_that_does_not_answer_ends_the_command(cluster: Cluster) -> None:
    (cluster.state / "silent").touch()
    done = cluster.run("undeploy", "--rpc-timeout", "1")
    assert done.returncode == 1
    assert "no answer within 1 s" in done.stderr


def test_a_pachctl_that_may_not_run_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "bin/pachctl").chmod(0o644)
    cluster.path = str(tmp_path / "bin")
    done = cluster.run("undeploy")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pachctl" in done.stderr


def test_the_face_hands_on_the_verbs(cluster: Cluster) -> None:
    for module in ("answermill", "pachyderm"):
        done = subprocess.run(
            [sys.executable, "-m", module, "undeploy"],
            cwd=ROOT,
            env={**os.environ, "PATH": cluster.path, "STATE": str(cluster.state)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_why_reads_the_reason_from_the_meta_repo(cluster: Cluster) -> None:
    (cluster.state / "failed").touch()
    (cluster.state / "pipeline-load").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "pachyderm", "why", "--cluster"],
        cwd=ROOT,
        env={**os.environ, "PATH": cluster.path, "STATE": str(cluster.state)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[:2] == ["load@bad failure: datum d1 failed", "  /a.csv (d1): exit code 1"]


def test_a_deployment_that_broke_off_goes_on(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    (cluster.state / "pipeline-ingest").write_text('{"pipeline": {"name": "ingest"}}')
    assert cluster.run(*ALL).returncode == 0
    assert cluster.calls() == ["update pipeline -f -", *["create pipeline -f -"] * 3]


@pytest.mark.parametrize(("names", "count"), [([], 4), (["question-answer"], 1)])
def test_a_new_model_reprocesses(cluster: Cluster, names: list[str], count: int) -> None:
    cluster.has(*SECRETS)
    assert cluster.run(*ALL).returncode == 0
    cluster.forget_calls()
    assert cluster.run(*ALL, "--reprocess", *names).returncode == 0
    assert cluster.calls() == ["update pipeline --reprocess -f -"] * count


def test_a_repo_filled_by_hand_takes_the_place_of_ingest(cluster: Cluster) -> None:
    cluster.has("secret-answermill-database")
    done = cluster.run("deploy", "--image", IMAGE, "--repo", "questions")
    assert done.returncode == 0, done.stderr
    assert cluster.calls() == ["create repo questions", *["create pipeline -f -"] * 2]
    assert not (cluster.state / "pipeline-ingest").exists()
    assert not (cluster.state / "pipeline-prune").exists()
    assert "--plain-names" in json.loads((cluster.state / "pipeline-load").read_text())["transform"]["cmd"]
    spec = json.loads((cluster.state / "pipeline-question-answer").read_text())
    assert (spec["pipeline"]["name"], spec["input"]["pfs"]["repo"]) == ("question-answer", "questions")


def test_a_missing_secret_is_said_before_anything_is_created(cluster: Cluster) -> None:
    cluster.has("secret-answermill-bucket")
    done = cluster.run("deploy", "--image", IMAGE, "--bucket", "gs://b")
    assert done.returncode == 1
    told = (
        "deploy: secret answermill-database is not on the cluster; run `answermill secrets` or `make secrets` first\n"
    )
    assert done.stderr == told
    assert cluster.calls() == []


def test_secrets_that_are_missing_are_created_on_the_way(cluster: Cluster, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    done = cluster.run(
        "deploy", "--image", IMAGE, "--bucket", "gs://b", "--bucket-key", str(key), PGHOST="db", PGPASSWORD="p"
    )
    assert done.returncode == 0, done.stderr
    assert cluster.calls() == ["create secret -f /dev/stdin"] * 2 + ["create pipeline -f -"] * 4


def test_what_pachctl_says_is_passed_on_in_one_line(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    (cluster.state / "broken").write_text("create pipeline")
    done = cluster.run("deploy", "--image", IMAGE, "--bucket", "gs://b")
    assert (done.returncode, done.stderr) == (1, "deploy: pachctl create pipeline -f -: rpc error: no\n")


def test_a_moving_tag_is_refused(cluster: Cluster) -> None:
    done = cluster.run("deploy", "--image", "answermill:latest", "--bucket", "gs://b")
    assert done.returncode == 1
    assert "the tag latest moves" in done.stderr
    assert cluster.calls() == []


def test_the_plan_needs_no_pachctl_and_holds_no_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pachyderm.deploy", "plan", "--image", IMAGE, "--bucket", "gs://b/p"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PGHOST": "db", "PGPASSWORD": "geheim"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "pachctl inspect secret answermill-bucket",
        "pachctl inspect secret answermill-database",
        "pachctl inspect pipeline ingest --raw",
        "pachctl inspect pipeline question-answer --raw",
        "pachctl inspect pipeline load --raw",
        "pachctl inspect pipeline prune --raw",
    ]
    created = "    pachctl create pipeline -f -  # if it is not; stdin: ingest.pipeline.json with image"
    assert f"{created} {IMAGE} and gs://b/p" in lines
    assert "geheim" not in done.stdout + done.stderr


def test_without_pachctl_the_reason_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pachyderm.deploy", "undeploy"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("undeploy: pachctl is not on the PATH")


def test_undeploy_deletes_the_pipelines_from_the_end(cluster: Cluster) -> None:
    cluster.has(*SECRETS, *(f"pipeline-{name}" for name in ("ingest", "question-answer", "load")))
    assert cluster.run("undeploy").returncode == 0
    assert cluster.calls() == [f"delete pipeline {name}" for name in ("load", "question-answer", "ingest")]
    cluster.forget_calls()
    assert cluster.run("undeploy", "--with-secrets").returncode == 0
    assert cluster.calls() == ["delete secret answermill-bucket", "delete secret answermill-database"]


def test_secrets_come_from_files_and_variables(cluster: Cluster, tmp_path: Path) -> None:
    """They are shown to nobody."""
    key, root, client = (tmp_path / name for name in ("key.json", "ca.pem", "client.pem"))
    for path in (key, root, client):
        path.write_text(f"content of {path.name}")
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "pachyderm").rglob("*.json")}
    done = cluster.run(
        "secrets",
        "--bucket-key",
        str(key),
        PGHOST="db.example",
        PGUSER="loader",
        PGPASSWORD="ge#heim =1",
        PGSSLMODE="verify-full",
        PGSSLROOTCERT=str(root),
        PGSSLKEY=str(client),
    )
    assert done.returncode == 0, done.stderr
    assert cluster.calls() == ["create secret -f /dev/stdin"] * 2
    database = cluster.stdin("create secret -f /dev/stdin")
    assert (database["kind"], database["metadata"]["name"]) == ("Secret", "answermill-database")
    files = {name: base64.b64decode(content).decode() for name, content in database["data"].items()}
    assert files["root.crt"] == "content of ca.pem"
    assert files["client.key"] == "content of client.pem"
    assert files["pg_service.conf"].splitlines() == [
        "[answermill]",
        "host=db.example",
        "user=loader",
        "password=ge#heim =1",
        "sslmode=verify-full",
        "sslrootcert=/secrets/database/root.crt",
    ]
    assert "heim" not in done.stdout + done.stderr + (cluster.state / "calls").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in (ROOT / "pachyderm").rglob("*.json")}
    cluster.forget_calls()
    assert cluster.run("secrets", "--bucket-key", str(key)).returncode == 0
    assert cluster.calls() == ["delete secret answermill-bucket", "create secret -f /dev/stdin"]


REPLACED = ["delete secret answermill-database", "create secret -f /dev/stdin"]


def test_a_secret_that_was_deleted_is_created_again(cluster: Cluster) -> None:
    """pachctl creates none over another; where creating fails it is tried again, and never lost in silence."""
    cluster.has(*SECRETS)
    (cluster.state / "flaky").write_text("2")
    done = cluster.run("secrets", PGHOST="db")
    assert done.returncode == 0, done.stderr
    assert cluster.calls() == [*REPLACED, *REPLACED[1:] * 2]
    assert done.stderr.count("secret answermill-database is deleted and could not yet be created again: ") == 2
    assert "answermill-database" in (cluster.state / "secret-answermill-database").read_text()


def test_a_secret_that_cannot_come_back_is_named(cluster: Cluster) -> None:
    cluster.has(*SECRETS)
    (cluster.state / "broken").write_text("create secret")
    done = cluster.run("secrets", "--rpc-timeout", "1", PGHOST="db")
    assert done.returncode == 1
    assert done.stderr.endswith("rpc error: no; secret answermill-database is now deleted; run this again\n")
    (cluster.state / "broken").unlink()
    assert cluster.run("secrets", PGHOST="db").returncode == 0
    assert (cluster.state / "secret-answermill-database").exists()


def test_a_signal_waits_until_the_secret_is_back(cluster: Cluster) -> None:
    cluster.has(*SECRETS, "slow")
    process = cluster.start("secrets", PGHOST="db")
    until(lambda: REPLACED[0] in cluster.calls())
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert cluster.calls() == REPLACED
    assert (cluster.state / "secret-answermill-database").exists()


def test_libpq_reads_what_make_secrets_writes(database: str, tmp_path: Path) -> None:
    import psycopg

    from pachyderm.credentials import service_file

    info = psycopg.conninfo.conninfo_to_dict(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create role tester login password 'a=b #c'")
        try:
            names = {"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname"}
            given = {name: str(info[key]) for name, key in names.items() if info.get(key)}
            path = tmp_path / "pg_service.conf"
            path.write_text(service_file({**given, "PGUSER": "tester", "PGPASSWORD": "a=b #c"}))
            path.chmod(0o644)
            assert path.stat().st_mode & stat.S_IROTH
            code = "import psycopg; c = psycopg.connect('service=answermill'); print(c.info.user, c.info.password)"
            done = subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PGSERVICEFILE": str(path), "PGSSLKEY": "/secrets/database/client.key"},
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            connection.execute("drop role tester")
    assert done.stdout == "tester a=b #c\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deploy", "--bucket", "gs://b"], "--image is missing"),
        (["deploy", "--image", IMAGE], "give either --bucket"),
        (["deploy", "--image", IMAGE, "--bucket", "gs://b", "--repo", "q"], "give either --bucket"),
        (["plan", "--image", IMAGE, "--bucket", "b/p"], "write a URL, such as gs://b/p"),
    ],
)
def test_usage(cluster: Cluster, arguments: list[str], message: str) -> None:
    done = cluster.run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_stamped_specs_run_on_that_image(cluster: Cluster, tmp_path: Path) -> None:
    """In all other respects they are the shipped ones."""
    image = "docker.io/me/answermill:1.2.0-0123abc@sha256:" + "ab" * 32
    done = cluster.run("stamp", "--image", image, "--output", str(tmp_path / "specs"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    shipped = {path.name: json.loads(path.read_text()) for path in (ROOT / "pachyderm").glob("*.pipeline.json")}
    stamped = {path.name: json.loads(path.read_text()) for path in (tmp_path / "specs").iterdir()}
    assert {spec["transform"].pop("image") for spec in stamped.values()} == {image}
    for spec in shipped.values():
        del spec["transform"]["image"]
    assert stamped == shipped
    assert cluster.calls() == []


def test_an_image_that_can_move_is_not_stamped(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.run("stamp", "--image", "me/answermill:latest", "--output", str(tmp_path / "specs"))
    assert done.returncode == 1
    assert "the tag latest moves" in done.stderr
    assert not (tmp_path / "specs").exists()
