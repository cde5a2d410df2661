"""The container image, really built, twice, and really run. `make test-image`; it takes eight minutes or more.

With TEST_IMAGE=NAME it is the image of that name in docker or podman (BUILDER) that is tested, and nothing is built.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from socket import create_server

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from image.report import one_spelling, reasons_for
from pachyderm.demo.database import embedded_postgres
from runtime.manifest import Manifest
from tests.conftest import ROOT, SAMPLES
from tests.image.test_publish import run_publish
from tests.stages.test_ingest_bucket import service_account, token_server
from tests.support.bucket import bucket
from tests.support.image_kit import DISTILBERT, Image, Workshop, exported, open_workshop

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]

# MB that the image may take up on top of its base, with the bundle of a DistilBERT-base.
LIMIT = 450
SMALL = "localhost/answermill:small"
# On few rows, as the bundles of the other tests are, to save time.
JUDGED = "--evaluate samples/medical-leaflets.csv"
# Prints, once a program has ended, which files it has imported.
WITNESS = """
import atexit, runpy, sys
atexit.register(lambda: print(*(getattr(m, "__file__", None) or "" for m in list(sys.modules.values())), sep="\\n"))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Some gigabytes for a while: not in memory, where /tmp may be, and not kept, as pytest keeps its folders."""
    with tempfile.TemporaryDirectory(prefix="answermill-image-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def workshop(folder: Path) -> Iterator[Workshop]:
    if os.environ.get("TEST_IMAGE"):
        pytest.skip("TEST_IMAGE is tested as it is; this test builds images")
    with open_workshop(folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def image(folder: Path, request: pytest.FixtureRequest) -> Image:
    """With the bundle of the shipped checkpoint, or TEST_IMAGE."""
    if name := os.environ.get("TEST_IMAGE"):
        (folder / "root").mkdir()
        return exported(name, [os.environ.get("BUILDER") or "docker"], folder / "root")
    workshop: Workshop = request.getfixturevalue("workshop")
    return workshop.image(SMALL, "models/minilm-qa", f"OPTIONS={JUDGED}")


@pytest.fixture(scope="session")
def large(workshop: Workshop, image: Image) -> Image:
    """Built from nothing once more, with the bundle of a DistilBERT-base."""
    # The answers of random weights are chance.
    return workshop.image("localhost/answermill:large", DISTILBERT, f"OPTIONS={JUDGED} --min-agreement 0")


@pytest.fixture
def pfs(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        shutil.copytree(SAMPLES, Path(name) / "samples")
        yield Path(name)


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """A PostgreSQL server: its URL, its socket, and its URL in the image, where the socket lies in /tmp.

    The folder around the socket is for the server's user alone.
    """
    with tempfile.TemporaryDirectory(dir=folder) as data, embedded_postgres(Path(data) / "data") as url:
        host = str(conninfo_to_dict(url)["host"])
        yield url, Path(host) / ".s.PGSQL.5432", make_conninfo(url, host="/tmp")  # noqa: S108 - it is the pod's own


def files(top: Path) -> dict[str, Path]:
    return {str(path.relative_to(top)): path for path in sorted(top.rglob("*")) if path.is_file()}


def without_records(found: dict[str, Path]) -> dict[str, Path]:
    """Those that hold no time and no machine: the tables, and the notes on what was refused."""
    return {name: path for name, path in found.items() if name.endswith(".csv") or name.startswith("rejected/")}


def state(path: Path) -> str:
    """All there is to a file but its times."""
    found = path.lstat()
    content = str(path.readlink()) if path.is_symlink() else ""
    if stat.S_ISREG(found.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{found.st_mode:o} {found.st_uid}:{found.st_gid} {content}"


def states(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): state(path) for path in top.rglob("*")}


def size(top: Path) -> int:
    """Bytes of all files; a file with two names counts once."""
    found = {(s.st_dev, s.st_ino): s.st_size for p in top.rglob("*") if stat.S_ISREG((s := p.lstat()).st_mode)}
    return sum(found.values())


def outside(folder: Path, name: str, *arguments: object, **environment: str) -> None:
    """Runs a stage on this machine, of the tree that the image was built from, which ROOT may differ from by now."""
    tree = folder / "tree" if (folder / "tree").exists() else ROOT
    command = [sys.executable, "-m", f"stages.{name}", *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_three_stages_give_the_same_bytes_as_outside(image: Image, pfs: Path, folder: Path, tmp_path: Path) -> None:
    """Over the samples. The builds take a while, in which somebody may edit or merge."""
    done = image.run(pfs, "python", "-m", "stages.ingest", "/pfs/samples", "/pfs/ingest")
    assert done.returncode == 0, done.stderr
    done = image.run(pfs, "python", "-m", "stages.answer", "/pfs/ingest", "/pfs/answers", "--model", "/model")
    assert done.returncode == 0, done.stderr
    with server(folder) as (url, socket, inside):
        load = ("python", "-m", "stages.load", "/pfs/answers", "/pfs/loaded")
        done = image.run(pfs, *load, socket=socket, environment={"DATABASE_URL": inside})
        assert done.returncode == 0, done.stderr
        with psycopg.connect(url) as connection:
            loaded = connection.execute("select file, row, answer, score from question_answer").fetchall()

    outside(folder, "ingest", SAMPLES, tmp_path / "ingest")
    outside(folder, "answer", tmp_path / "ingest", tmp_path / "answers", "--model", image.root / "model")
    for name in ("ingest", "answers"):
        found, expected = (without_records(files(top / name)) for top in (pfs, tmp_path))
        assert found.keys() == expected.keys()
        assert [n for n in found if found[n].read_bytes() != expected[n].read_bytes()] == []
    with server(folder) as (url, *_):
        outside(folder, "load", tmp_path / "answers", tmp_path / "loaded", DATABASE_URL=url)
        with psycopg.connect(url) as connection:
            assert sorted(loaded) == sorted(
                connection.execute("select file, row, answer, score from question_answer").fetchall()
            )
    assert len(loaded) > 200


def test_ingest_from_a_bucket_with_a_service_account(image: Image, pfs: Path) -> None:
    with bucket() as store, token_server() as port:
        store.put("in/a.csv", b"question,context\nWho called?,Ada called.\n")
        (pfs / "key.json").write_text(service_account(port), "utf-8")
        ingest = ("python", "-m", "stages.ingest", "gs://questions/in", "/pfs/out")
        key = {"GOOGLE_APPLICATION_CREDENTIALS": "/pfs/key.json"}
        done = image.run(pfs, *ingest, network=True, environment={**store.environment, **key})
        assert done.returncode == 0, done.stderr
    assert (pfs / "out/a.csv").read_bytes() == b"question,context\nWho called?,Ada called.\n"
    assert {request.headers.get("authorization") for request in store.seen} == {"Bearer token-of-the-test"}


def test_every_package_is_imported_by_a_stage(image: Image, pfs: Path, folder: Path) -> None:
    """Heavy packages are imported only where they are needed."""
    witness = ("python", "-c", WITNESS)
    with bucket() as store:
        store.put("a.csv", b"question,context\nWho called?,Ada called.\n")
        ingest = ("stages.ingest", "gs://questions", "/pfs/in")
        runs = {"ingest": image.run(pfs, *witness, *ingest, network=True, environment=store.environment)}
    answer = ("stages.answer", "/pfs/in", "/pfs/out", "--model", "/model")
    runs["answer"] = image.run(pfs, *witness, *answer)
    with server(folder) as (_, socket, inside):
        load = ("stages.load", "/pfs/out", "/pfs/loaded")
        runs["load"] = image.run(pfs, *witness, *load, socket=socket, environment={"DATABASE_URL": inside})
    assert {name: run.returncode for name, run in runs.items()} == {"ingest": 0, "answer": 0, "load": 0}, runs
    owners = {
        str(path): one_spelling(package.metadata["Name"]) for package in distributions() for path in package.files or ()
    }
    imported = {
        name: {owners.get(line.partition("/site-packages/")[2]) for line in run.stdout.splitlines()}
        for name, run in runs.items()
    }
    heavy = {"gcsfs", "grpcio", "numpy", "onnxruntime", "polars", "psycopg", "tokenizers"}
    assert {name: packages & heavy for name, packages in imported.items()} == {
        "ingest": {"gcsfs", "grpcio"},
        "answer": {"numpy", "onnxruntime", "polars", "tokenizers"},
        "load": {"numpy", "polars", "psycopg"},
    }
    reasons = reasons_for((ROOT / "image-packages.txt").read_text("utf-8"))
    # tqdm is imported where stderr is a terminal.
    assert set(reasons) - set().union(*imported.values()) == {"tqdm"}


def test_nothing_is_there_that_no_stage_needs(image: Image, pfs: Path) -> None:
    unwanted = ["torch", "transformers", "optimum", "huggingface_hub", "pip", "setuptools", "ensurepip", "pytest"]
    find = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    assert image.run(pfs, "python", "-c", find, *unwanted).stdout == "[]\n"
    programs = {path.name for folder in ("usr/bin", "usr/local/bin") for path in (image.root / folder).glob("*")}
    assert programs & {"pip", "pip3", "gcc", "cc", "c++", "ld", "as", "strip", "make"} == set()
    paths = [str(path.relative_to(image.root)) for path in (image.root / "opt").rglob("*")]
    # Licences keep the paths of what they are for.
    paths = [path for path in paths if ".dist-info/licenses/" not in path]
    assert [path for path in paths if re.search(r"/tests?/|/include/|\.(a|h|pyi|pyx|whl)$|RECORD$", path)] == []
    python = next((image.root / "opt/answermill/bin").glob("python3.*")).name
    assert sorted(path.name for path in (image.root / "opt/answermill/bin").iterdir()) == ["python", "python3", python]


def test_nobody_can_gain_rights_in_the_image(image: Image, pfs: Path) -> None:
    """Nothing but /tmp and /pfs can be written."""
    user, _, group = str(image.config["User"]).partition(":")
    assert user.isdecimal()
    assert group.isdecimal()
    assert int(user) > 0
    modes = {str(p.relative_to(image.root)): p.lstat() for p in image.root.rglob("*") if not p.is_symlink()}
    assert [path for path, s in modes.items() if s.st_mode & (stat.S_ISUID | stat.S_ISGID)] == []
    # Not asked of a running one alone, since a root file system that is read-only would hide it.
    writable = [path for path, s in modes.items() if s.st_mode & stat.S_IWOTH or s.st_uid == int(user)]
    assert sorted(path for path in writable if not path.startswith(("dev/", "proc/"))) == ["pfs", "tmp"]
    script = """
import os
for place in ("/", "/opt/answermill", "/model", "/var/tmp", "/tmp", "/pfs"):
    print(place, os.access(place, os.W_OK))
print(open("/proc/self/status").read())
"""
    done = image.run(pfs, "python", "-c", script)
    assert re.findall(r"^(/\S*) True$", done.stdout, re.MULTILINE) == ["/tmp", "/pfs"], done.stderr  # noqa: S108
    assert re.search(r"^CapEff:\s+0+$", done.stdout, re.MULTILINE)


def test_it_starts_without_a_shell(image: Image, pfs: Path) -> None:
    assert image.run(pfs, "sh", "-c", "true").returncode != 0
    assert image.config.get("Entrypoint") is None
    command = image.config["Cmd"]
    assert isinstance(command, list)
    assert command[0] == "python"
    done = image.run(pfs, *command)
    assert done.returncode == 0
    assert "usage: answermill answer" in done.stdout


def test_labels_and_sbom_say_what_is_in_it(image: Image) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    bundle = Manifest.from_json((image.root / "model/manifest.json").read_text("utf-8")).bundle_id
    labels = image.config["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.match(r"[0-9a-f]{7,}", labels["org.opencontainers.image.revision"])
    assert labels["answermill.bundle"] == bundle
    sbom = json.loads((image.root / "opt/answermill/sbom.cdx.json").read_text("utf-8"))
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "answermill"
    listed = {(one_spelling(part["name"]), part["version"]) for part in sbom["components"]} - {("answermill", version)}
    present = {(one_spelling(p.metadata["Name"]), p.version) for p in distributions(path=[str(image.site)])}
    assert listed == present - {("answermill", version)}
    assert {name for name, _ in listed} == set(reasons_for((ROOT / "image-packages.txt").read_text("utf-8")))


def test_labels_say_which_base_it_stands_on(image: Image, workshop: Workshop) -> None:
    labels = image.config["Labels"]
    assert isinstance(labels, dict)
    name, _, digest = workshop.base_name.partition("@")
    assert labels["org.opencontainers.image.base.name"] == name
    assert labels.get("org.opencontainers.image.base.digest", "") == digest
    assert labels["answermill.base"] == (digest or "by name alone")


def test_what_is_pulled_by_its_digest_is_what_was_built(image: Image, workshop: Workshop, folder: Path) -> None:
    """As a release does it: saved, loaded, pushed, and named by digest in the specs."""
    if not workshop.registry:
        pytest.skip("NOT TESTED: needs docker and docker-registry")
    built = workshop.do("inspect", "--format={{.Id}}", SMALL)
    workshop.do("save", "-o", folder / "image.tar", SMALL)
    name = f"{workshop.registry}/me/answermill"
    done = run_publish(name, "1-a", folder / "image.tar", f"--loaded={SMALL}", **workshop.environment)
    assert done.returncode == 0, done.stderr
    pinned = f"{name}:1-a@{done.stdout.strip().partition('=')[2]}"
    workshop.do("rmi", "--force", built)
    workshop.do("pull", "--quiet", pinned)
    assert workshop.do("inspect", "--format={{.Id}}", pinned) == built
    stamp = [sys.executable, "-m", "pachyderm.deploy", "stamp", "--image", pinned, "--output", str(folder / "specs")]
    subprocess.run(stamp, cwd=ROOT, check=True)
    specs = [json.loads(path.read_text("utf-8")) for path in (folder / "specs").glob("*.pipeline.json")]
    assert {spec["transform"]["image"] for spec in specs} == {pinned}


def test_the_report_accounts_for_what_the_image_adds(image: Image) -> None:
    report = (image.root / "opt/answermill/packages.md").read_text("utf-8")
    told = float(re.findall(r"\| in all \|  \| ([0-9.]+) \|", report)[0])
    added = size(image.root / "opt/answermill") + size(image.root / "model")
    assert told == pytest.approx(added / 1e6, abs=1)


def test_with_the_default_models_size_it_is_small(workshop: Workshop, large: Image) -> None:
    added = (size(large.root) - size(workshop.base)) / 1e6
    assert size(large.root / "model") > 60e6
    assert added <= LIMIT


def test_built_again_every_file_is_the_same(image: Image, large: Image, int8_bundle: Path) -> None:
    def but_for_the_bundle(root: Path) -> dict[str, str]:
        return {
            path: found
            for path, found in states(root).items()
            if not path.startswith(("model/", "dev/", "proc/", "opt/answermill/packages.md"))
        }

    first, second = but_for_the_bundle(image.root), but_for_the_bundle(large.root)
    assert first.keys() == second.keys()
    assert {path for path in first if first[path] != second[path]} == set()
    # manifest.json and README.md name the versions of Python and more that exported.
    for name in ("model.onnx", "tokenizer.json", "config.json"):
        assert (int8_bundle / name).read_bytes() == (image.root / "model" / name).read_bytes()


def test_network_is_off_where_it_is_said_to_be(image: Image, pfs: Path) -> None:
    with create_server(("127.0.0.1", 0)) as listening:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {listening.getsockname()[1]}), 5)"
        assert image.run(pfs, "python", "-c", connect, network=True).returncode == 0
        assert "Network is unreachable" in image.run(pfs, "python", "-c", connect).stderr
