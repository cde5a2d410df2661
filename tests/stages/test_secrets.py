"""Commands that fail with a secret in every variable, URL and file that takes one; none of them is told to anybody."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.loading import write_version
from tests.support.secrets import PLANTED, check_files, check_text, command_lines_watched

Stage = Callable[..., subprocess.CompletedProcess[str]]
PEM = f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\nMIIE/{PLANTED}==\n-----END PRIVATE KEY-----\n"
KEY = json.dumps({"type": "service_account", "private_key": PEM, "client_email": "a@b.iam", "token_uri": "https://x/y"})
# What people paste in the place of a path.
CONTENTS = {
    "pem": PEM,
    "one-line": PEM.replace("\n", "\\n"),
    "json": KEY,
    "json-lines": json.dumps(json.loads(KEY), indent=2),
    "base64": base64.b64encode(b"k" * 300).decode() + PLANTED,
    "base64-with-slashes": f"/{PLANTED}/" + base64.b64encode(b"k" * 30).decode(),
    "short": PLANTED,
}
URLS = [
    f"sftp://user:{PLANTED}@127.0.0.1:1/x",
    f"sftp://user:12/{PLANTED}@127.0.0.1:1/x",
    f"sftp://user:a@{PLANTED}@127.0.0.1:1/x",
    f"sftp://user:a::{PLANTED}::b@127.0.0.1:1/x",
    f"ftp://user:{PLANTED}@127.0.0.1:1/x",
    f"s3://key:{PLANTED}@bucket/x",
    f"s3://key:a/{PLANTED}@bucket/x",
    f"webdav://user:{PLANTED}@127.0.0.1:1/x",
    f"smb://user:{PLANTED}@127.0.0.1:1/x",
    f"unknown://user:{PLANTED}@host/x",
    f"http://user:{PLANTED}@127.0.0.1:1/a.csv",
    f"http://user:a/{PLANTED}@127.0.0.1:1/a.csv",
    f"http://127.0.0.1:1/a.csv?X-Goog-Signature={PLANTED}",
    f"http://127.0.0.1:1/a.csv#{PLANTED}",
    f"http://user:{PLANTED}@[::1/a.csv",
    f"http://127.0.0.1:{PLANTED}/a.csv",
    f"simplecache::http://user:{PLANTED}@127.0.0.1:1/a.csv",
    f"zip://a.csv::http://127.0.0.1:1/a.zip?sig={PLANTED}",
    f"zip://a.csv::sftp://user:{PLANTED}@127.0.0.1:1/a.zip",
]
DATABASES = [
    f"postgresql://user:{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user:a/{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user:a@{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user:a#{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user:a?{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user:%zz{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user:[{PLANTED}@127.0.0.1:1/db",
    f"postgresql://user@127.0.0.1:1/db?password={PLANTED}",
    f"postgresql://user@127.0.0.1:1/db?passwort={PLANTED}",
    f"postgresql://user@127.0.0.1:1/db?{PLANTED}=1",
    f"postgresql://user@127.0.0.1:1/db?sslmode={PLANTED}",
    f"postgresql://user@127.0.0.1:{PLANTED}/db",
    f"host=127.0.0.1 port=1 password='{PLANTED}",
    f"host=127.0.0.1 port=1 password={PLANTED} again={PLANTED}",
    f"host=127.0.0.1 port=1 password={PLANTED} {PLANTED}",
    f"jdbc:postgresql://127.0.0.1:1/db?password={PLANTED}",
    f"'postgresql://user:{PLANTED}@127.0.0.1:1/db'",
    f" postgresql://user:{PLANTED}@127.0.0.1:1/db\n",
    f"mysql://user:{PLANTED}@127.0.0.1:1/db",
    PLANTED,
    PEM,
]
NOWHERE = {"DATABASE_URL": "", "PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "user", "PGDATABASE": "db"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_version(tmp_path / "in/a.csv", "one", 2).parent


def check_failure(done: subprocess.CompletedProcess[str]) -> None:
    """The `stage` fixture has looked at what was said."""
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_pasted_key_of_a_bucket(stage: Stage, tmp_path: Path, content: str) -> None:
    with command_lines_watched():
        done = stage("ingest", "gs://bucket/x", tmp_path / "out", GOOGLE_APPLICATION_CREDENTIALS=content)
    check_failure(done)
    assert "this variable is the path of a file" in done.stderr


def test_a_damaged_key_of_a_bucket(stage: Stage, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What parses it quotes it; and no trying again will mend it."""
    key = tmp_path_factory.mktemp("keys") / "key.json"
    users = [{"type": kind, "refresh_token": PLANTED} for kind in ("authorized_user", "impersonated_service_account")]
    addresses = [{**json.loads(KEY), "token_uri": uri} for uri in (3, PLANTED)]
    for content in (KEY, KEY[:-9], "[" * 100_000, *map(json.dumps, [*users, *addresses])):
        key.write_text(content)
        done = stage("ingest", "gs://bucket/x", tmp_path / "out", GOOGLE_APPLICATION_CREDENTIALS=str(key))
        check_failure(done)
        assert "try again" not in done.stderr


@pytest.mark.parametrize("url", URLS)
def test_a_url_of_a_source(stage: Stage, tmp_path: Path, url: str) -> None:
    check_failure(stage("ingest", url, tmp_path / "out", "--timeout", "2"))


@pytest.mark.parametrize("url", DATABASES)
def test_a_url_of_a_database(stage: Stage, source: Path, tmp_path: Path, url: str) -> None:
    with command_lines_watched():
        check_failure(stage("load", source, tmp_path / "out", "--retry-for", "0", DATABASE_URL=url))


@pytest.mark.parametrize("variable", ["PGSSLKEY", "PGPASSFILE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLROOTCERT"])
def test_a_pasted_file_of_a_database(stage: Stage, source: Path, tmp_path: Path, variable: str) -> None:
    for content in CONTENTS.values():
        done = stage("load", source, tmp_path / "out", "--retry-for", "0", **{**NOWHERE, variable: content})
        check_failure(done)
        assert variable in done.stderr


@pytest.mark.parametrize(
    "variable", ["PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGDATABASE", "PGSERVICE", "PGSSLMODE"]
)
def test_a_url_in_another_variable(stage: Stage, source: Path, tmp_path: Path, variable: str) -> None:
    """A URL belongs in DATABASE_URL, and the message says so."""
    url = f"postgresql://user:{PLANTED}@127.0.0.1:1/db"
    done = stage("load", source, tmp_path / "out", "--retry-for", "0", **{**NOWHERE, variable: url})
    check_failure(done)
    assert f"{variable} holds a URL; put it into DATABASE_URL" in done.stderr


def test_a_broken_file_of_services(
    stage: Stage, source: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    services = tmp_path_factory.mktemp("keys") / "services"
    for line in (f"password={PLANTED}", f"{PLANTED}", f"{PLANTED}={PLANTED}", f"port={PLANTED}", f"sslmode={PLANTED}"):
        services.write_text(f"[warehouse]\nhost=127.0.0.1\nport=1\n{line}\n")
        variables = {"DATABASE_URL": "", "PGSERVICE": "warehouse", "PGSERVICEFILE": str(services)}
        check_failure(stage("load", source, tmp_path / "out", "--retry-for", "0", **variables))


def test_a_run_whose_stages_fail(tmp_path: Path) -> None:
    """The runner keeps logs, reasons and datums; what its caller typed is the caller's."""
    root = tmp_path / "root"
    command = [
        sys.executable, "-m", "pachyderm", "run", "--tick", "--root", str(root),
        "--bucket", f"sftp://user:{PLANTED}@127.0.0.1:1/x",
        "--env", "DATABASE_URL", str(ROOT / "pachyderm/ingest.pipeline.json"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    check_text(done.stdout, done.stderr)
    check_files(tmp_path)
