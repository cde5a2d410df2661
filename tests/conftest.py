"""The real things the tests run against: bundles of the shipped checkpoint, a PostgreSQL server, stage processes."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from pachyderm.demo.database import embedded_postgres
from tests.support import secrets

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "models/minilm-qa"
SAMPLES = ROOT / "samples"
# What the tests' bundles are verified on, the packages that make them, and the modules of runtime that take part.
EVALUATED = SAMPLES / "medical-leaflets.csv"
PINS = re.compile("(onnx|onnxruntime|optimum|optimum-onnx|numpy|tokenizers|torch|transformers)==")
RUNTIME_MODULES = [
    "answer",
    "answerer",
    "blanks",
    "bundle",
    "confidence",
    "decoding",
    "graph",
    "manifest",
    "rows",
    "spans",
]
RUNTIME_MODULES += ["bert_cuts", "blank_cuts", "byte_cuts", "long_words", "pieces", "squad", "tokens", "windows"]

# A change is judged by the same examples each time; the nightly run looks for new ones (`make test-faults`).
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("fixed")

Stage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _secrets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plants secrets in the environment of whatever a stage or the runner starts; none may be written down anywhere."""
    if request.path.parent.name not in ("stages", "pachyderm"):
        yield
        return
    for name, value in secrets.VARIABLES.items():
        monkeypatch.setenv(name, value)
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder:
        secrets.check_files(folder)


@pytest.fixture(scope="session")
def int8_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped checkpoint as `make demo` exports it; verified on one file of the samples, to save time."""
    return _export(tmp_path_factory.mktemp("int8") / "model", "int8")


@pytest.fixture(scope="session")
def fp32_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _export(tmp_path_factory.mktemp("fp32") / "model", "fp32")


def _export(folder: Path, precision: str) -> Path:
    if kept := os.environ.get("TEST_BUNDLES"):
        # Exporting takes most of a minute; what it depends on names the folder.
        folder = Path(kept) / f"{precision}-{_export_digest()}" / "model"
        if folder.exists():
            return folder
    arguments = [str(CHECKPOINT), "--output", str(folder), "--precision", precision, "--evaluate", str(EVALUATED)]
    subprocess.run([sys.executable, "-m", "export", *arguments], cwd=ROOT, check=True)
    return folder


def _export_digest() -> str:
    """A digest of what decides the bytes of the tests' bundles: a message or a help text exports nothing again."""
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if PINS.match(line)]
    digest = hashlib.sha256("\n".join(pins).encode())
    paths = [path for path in ROOT.glob("export/**/*.py") if path.name != "__main__.py"]
    paths += [ROOT / "runtime" / f"{name}.py" for name in RUNTIME_MODULES]
    paths += [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    for path in [*sorted(paths), EVALUATED]:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Connection URI of a server that lives as long as the session: TEST_DATABASE_URL, or an embedded one."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    # Not below pytest's own folder: another run of root's pytest would close that to the server's user.
    with tempfile.TemporaryDirectory(prefix="answermill-") as folder, embedded_postgres(Path(folder) / "data") as url:
        yield url


@pytest.fixture
def database(postgres_server: str) -> Iterator[str]:
    """Connection URI of a database that only this test uses."""
    name = f"test_{os.getpid()}_{os.urandom(4).hex()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    yield psycopg.conninfo.make_conninfo(postgres_server, dbname=name)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def stage() -> Stage:
    """Runs a stage as users do, in a process of its own: `stage("load", folder, out, "--dry-run", PGHOST=…)`."""

    def run(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", f"stages.{name}", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=240,
        )
        secrets.check_text(done.stdout, done.stderr)
        return done

    return run
