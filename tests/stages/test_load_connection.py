"""Where the loader connects to, with what, and how it is told that it may not; on servers of their own."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.errors import DatabaseError
from stages.loading.connection import _private_copies
from tests.support.certificates import make_certificate
from tests.support.loading import execute, run_load, versions_of, write_version
from tests.support.servers import BINARIES, Server, new_server, packaged

Stage = Callable[..., subprocess.CompletedProcess[str]]
# Odd enough that it is nowhere by chance; the characters that URLs and shells stumble over.
ODD = "p@ss/w:rd #%'\"zz9"


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server that wants a password."""
    with new_server(BINARIES[-1], "scram-sha-256", ODD) as server:
        server.start()
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_version(tmp_path / "in/a.csv", "one", 2)
    return tmp_path / "in"


@pytest.fixture
def service_file(locked: Server, tmp_path: Path) -> Path:
    path = tmp_path / "services"
    path.write_text(f"[warehouse]\nhost=127.0.0.1\nport={locked.port}\nuser=postgres\ndbname=postgres\n")
    return path


def test_libpq_variables_a_url_and_a_service_file_lead_there(
    locked: Server, source: Path, service_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    encoded = "".join(f"%{byte:02X}" for byte in ODD.encode())
    # A mounted secret: open to others, and libpq would not read it.
    passwords = tmp_path / "passwords"
    passwords.write_text("*:*:*:postgres:" + ODD.replace(":", "\\:") + "\n")
    passwords.chmod(0o644)
    ways: list[dict[str, str]] = [
        {**locked.environment, "PGPASSWORD": ODD},
        {**locked.environment, "PGPASSFILE": str(passwords), "PGPASSWORD": ""},
        {"DATABASE_URL": f"postgresql://postgres:{encoded}@127.0.0.1:{locked.port}/postgres"},
        {"DATABASE_URL": f"host=127.0.0.1 port={locked.port} user=postgres", "PGPASSWORD": ODD},
        {"PGSERVICE": "warehouse", "PGSERVICEFILE": str(service_file), "PGPASSWORD": ODD, "DATABASE_URL": ""},
    ]
    for number, way in enumerate(ways):
        url = way.pop("DATABASE_URL", "")
        assert run_load(url, source, tmp_path / "out", "--table", f"way {number}", retry_for=0, **way) == 0
        assert caplog.text.count("inserted=2") == number + 1
    assert ODD not in caplog.text


def test_a_wrong_password_is_told_at_once_and_nowhere_shown(
    stage: Stage, locked: Server, source: Path, tmp_path: Path
) -> None:
    wrong = "Wr0ng-S3cret"
    for way in (
        {**locked.environment, "PGPASSWORD": wrong},
        {"DATABASE_URL": f"postgresql://postgres:{wrong}@127.0.0.1:{locked.port}/postgres"},
    ):
        ran = stage("load", source, tmp_path / "out", "--retry-for", "600", **way)
        assert ran.returncode == 1
        assert "password authentication failed" in ran.stderr
        assert "check PGUSER and PGPASSWORD, or DATABASE_URL" in ran.stderr
        assert "trying again" not in ran.stderr
        assert ran.stderr.count("\n") == 1
        assert wrong not in ran.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:S3c@ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c/ret@127.0.0.1:{port}/postgres",
        "postgresql://user:12/S3cret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c?ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c#ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c%ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c:ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c[ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3c ret@127.0.0.1:{port}/postgres",
        "postgresql://user:S3cret@127.0.0.1:{port}x/postgres",
        "host=127.0.0.1 port={port} user=postgres password=S3c ret",
        "host=127.0.0.1 port={port} user=postgres password='S3c ret",
    ],
)
def test_a_url_that_a_password_breaks_shows_no_part_of_it(
    locked: Server, source: Path, tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(DatabaseError) as caught:
        run_load(url.format(port=locked.port), source, tmp_path / "out")
    # What a traceback would show as well, down to the first cause.
    told = caplog.text + "".join(traceback.format_exception_only(caught.value))
    cause: BaseException | None = caught.value
    while cause := cause and cause.__cause__:
        told += str(cause)
    assert not re.search("S3c|ret", told.replace("tried for", "")), told


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"PGDATABASE": "nowhere"}, 'database "nowhere" does not exist', "create it, or correct PGDATABASE"),
        ({"PGUSER": "nobody-here"}, "password authentication failed", "check PGUSER and PGPASSWORD"),
        ({"PGSSLMODE": "require"}, "server does not support SSL", "check PGSSLMODE"),
        ({"PGPORT": "many"}, 'invalid integer value "…" for connection option "port"', "check DATABASE_URL or PGHOST"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    locked: Server, source: Path, tmp_path: Path, change: dict[str, str], reason: str, remedy: str
) -> None:
    way = {**locked.environment, "PGPASSWORD": ODD, **change}
    del way["DATABASE_URL"]
    with pytest.raises(DatabaseError) as caught:
        run_load("", source, tmp_path / "out", retry_for=600, **way)
    assert reason in str(caught.value)
    assert remedy in str(caught.value)


def test_a_missing_schema_is_told_with_a_remedy(locked: Server, source: Path, tmp_path: Path) -> None:
    way = {**locked.environment, "PGPASSWORD": ODD}
    del way["DATABASE_URL"]
    with pytest.raises(DatabaseError, match=r'schema "nowhere" does not exist.*create the schema, or correct --schema'):
        run_load("", source, tmp_path / "out", "--schema", "nowhere", retry_for=600, **way)


def test_a_server_that_is_not_there_yet_is_waited_for(source: Path, tmp_path: Path) -> None:
    with new_server(BINARIES[-1]) as server:
        with pytest.raises(DatabaseError, match=r"Connection refused.*\(tried for 0.3 s\)"):
            run_load(server.url, source, tmp_path / "out", retry_for=0.3)
        arguments = [sys.executable, "-m", "stages.load", str(source), str(tmp_path / "out")]
        variables = {**server.environment, "PGPASSWORD": ODD}
        with subprocess.Popen(arguments, env=variables, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert "trying again for" in first
            assert "check DATABASE_URL or PGHOST" in first
            time.sleep(1)
            for title in ("cmdline", "comm"):
                assert ODD not in Path(f"/proc/{process.pid}/{title}").read_text()
            server.start()
            told = process.stderr.read()
        assert process.returncode == 0, told
        assert "Connection refused" not in told, "the same reason is not told with each try"
        assert versions_of(server.url) == {"a.csv": {"one": 2}}


@pytest.fixture(scope="module")
def secrets() -> Iterator[Path]:
    """Certificates, right and wrong, in a folder like a mounted secret."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = make_certificate(folder, "authority")
        make_certificate(folder, "other")
        for days in (1, -1):
            make_certificate(folder, "server", authority, days)
            make_certificate(folder, "postgres", authority, days)
        yield folder


@pytest.fixture(scope="module")
def guarded(secrets: Path) -> Iterator[Server]:
    """A server that takes TLS alone, and for it a client certificate."""
    with new_server(packaged()) as server:
        _use_certificate(server, secrets, days=1)
        server.data.joinpath("pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 cert\n")
        server.start()
        yield server


def _use_certificate(server: Server, secrets: Path, days: int) -> None:
    for source, name in (
        ("authority-1.crt", "root.crt"),
        (f"server-{days}.crt", "server.crt"),
        (f"server-{days}.key", "server.key"),
    ):
        copy = server.owned(Path(shutil.copy(secrets / source, server.data / name)))
        copy.chmod(0o600)
    server.configure(ssl="on", ssl_ca_file="root.crt", ssl_cert_file="server.crt", ssl_key_file="server.key")


def _tls(server: Server, secrets: Path, **change: str) -> dict[str, str]:
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        "PGSSLMODE": "verify-ca",
        "PGSSLROOTCERT": str(secrets / "authority-1.crt"),
        "PGSSLCERT": str(secrets / "postgres-1.crt"),
        "PGSSLKEY": str(secrets / "postgres-1.key"),
        **{name: str(secrets / value) for name, value in change.items()},
    }


def test_the_right_certificates_pass_with_an_open_key(
    guarded: Server, secrets: Path, source: Path, tmp_path: Path
) -> None:
    """Others can read the key's file, as a cluster mounts it."""
    assert (secrets / "postgres-1.key").stat().st_mode & 0o777 == 0o644
    before = set(Path(tempfile.gettempdir()).glob("answermill-secret-*"))
    assert run_load("", source, tmp_path / "out", retry_for=0, **_tls(guarded, secrets)) == 0
    assert set(Path(tempfile.gettempdir()).glob("answermill-secret-*")) == before
    socket = f"host={guarded.folder} port={guarded.port} user=postgres"
    assert versions_of(socket) == {"a.csv": {"one": 2}}
    execute(socket, "drop table question_answer, question_answer_file")


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"PGSSLROOTCERT": "other-1.crt"}, "certificate verify failed", "check that PGSSLROOTCERT is the authority"),
        ({"PGSSLROOTCERT": "nowhere"}, "root certificate file", "set PGSSLROOTCERT"),
        ({"PGSSLKEY": "nowhere"}, "but not private key file", "check PGSSLCERT and PGSSLKEY"),
        ({"PGSSLKEY": "other-1.key"}, "private key", "check PGSSLCERT and PGSSLKEY"),
        ({"PGSSLCERT": "nowhere"}, "valid client certificate", "set PGSSLCERT and PGSSLKEY"),
        ({"PGSSLCERT": "postgres--1.crt", "PGSSLKEY": "postgres--1.key"}, "expired", "check PGSSLROOTCERT, PGSSLCERT"),
        (
            {"PGSSLCERT": "other-1.crt", "PGSSLKEY": "other-1.key"},
            "SSL error",
            "check PGSSLMODE, PGSSLROOTCERT, PGSSLCERT",
        ),
    ],
)
def test_wrong_certificates_are_refused_at_once(
    guarded: Server, secrets: Path, source: Path, tmp_path: Path, change: dict[str, str], reason: str, remedy: str
) -> None:
    with pytest.raises(DatabaseError) as caught:
        run_load("", source, tmp_path / "out", retry_for=600, **_tls(guarded, secrets, **change))
    assert reason in str(caught.value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_whose_certificate_expired_is_refused(secrets: Path, source: Path, tmp_path: Path) -> None:
    with new_server(packaged()) as server:
        _use_certificate(server, secrets, days=-1)
        server.start()
        with pytest.raises(DatabaseError, match=r"certificate verify failed.*check that .* none has expired"):
            run_load("", source, tmp_path / "out", retry_for=600, **_tls(server, secrets))


PASTED = "-----BEGIN PRIVATE KEY-----\nMIIES3cretZz\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("variable", ["PGSSLKEY", "PGSSLCERT", "PGPASSFILE", "PGSERVICEFILE", "PGSSLROOTCERT"])
@pytest.mark.parametrize("value", [PASTED, "MIIES3cretZz/abc", "/S3cretZz", "S3cretZz" * 1000])
def test_a_pasted_key_is_named_and_not_shown(
    locked: Server, source: Path, tmp_path: Path, stage: Stage, variable: str, value: str
) -> None:
    ran = stage("load", source, tmp_path / "out", **{**locked.environment, variable: value, "PGSERVICE": ""})
    assert ran.returncode == 1
    assert ran.stderr == (
        f"load: {variable}: no such file; this variable is the path of a file: "
        "save the content in a file, and name that file here\n"
    )


def test_a_pasted_key_in_the_url_is_not_shown(locked: Server, source: Path, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="sslkey in DATABASE_URL: no such file") as caught:
        run_load(f"{locked.url}?sslkey=MIIES3cretZz", source, tmp_path / "out")
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ('"{}"', "has quotes, blanks or a line break around it; leave them out"),
        ("'{}'", "has quotes, blanks or a line break around it"),
        (" {}", "has quotes, blanks or a line break around it"),
        ("{}\n", "has quotes, blanks or a line break around it"),
        ("{}?pgbouncer=true", 'has the parameter "pgbouncer", which is not one of libpq\'s; leave it out'),
        ("{}?schema=x", 'has the parameter "schema", .*; leave it out, and name the schema with --schema'),
        ("{}?S3cretZz=x", "is not a connection string"),
    ],
)
def test_what_is_wrong_with_a_url_is_named(
    locked: Server, source: Path, tmp_path: Path, form: str, reason: str
) -> None:
    url = locked.url.replace("postgres@", "postgres:S3cretZz@")
    with pytest.raises(DatabaseError, match=f"DATABASE_URL {reason}") as caught:
        run_load(form.format(url), source, tmp_path / "out")
    assert "S3cret" not in str(caught.value)


def test_a_private_copy_lies_in_no_folder(tmp_path: Path) -> None:
    """So a loader that is killed leaves no key behind."""
    key = tmp_path / "key"
    key.write_bytes(b"key")
    key.chmod(0o644)
    with _private_copies({"sslkey": str(key)}) as copies:
        copy = Path(copies["sslkey"])
        assert (copy.read_bytes(), copy.stat().st_mode & 0o777, copy.stat().st_nlink) == (b"key", 0o600, 0)
    assert not copy.exists()
