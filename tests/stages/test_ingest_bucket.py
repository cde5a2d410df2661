"""Ingest from a bucket, over HTTP, with and without faults on the way."""

import base64
import gzip
import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest

from stages.ingesting.gcs import RANGE
from tests.conftest import ROOT, Stage
from tests.support.bucket import BUCKET, Fault, Proxy, Request, bucket
from tests.support.processes import peak

HEADER = b"question,context\n"


def text(rows: int, seed: int = 0, width: int = 60) -> bytes:
    """A CSV of `rows` rows, LF and no BOM, so that a mirrored copy has the object's own checksum."""
    letters = random.Random(seed)
    lines = [b"%d?,%s\n" % (row, letters.randbytes(width // 2).hex().encode()) for row in range(rows)]
    return HEADER + b"".join(lines)


def checksum(path: Path) -> str:
    digest = google_crc32c.Checksum(path.read_bytes()).digest()  # type: ignore[no-untyped-call]
    return base64.b64encode(digest).decode()


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included but ingest's own listings."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for own in (".ingest.listing", "listing.json"):
        found.pop(own, None)
    return found


@pytest.fixture
def store() -> Iterator[Proxy]:
    with bucket() as proxy:
        yield proxy


URL = f"gs://{BUCKET}/in"


def test_a_bucket_is_mirrored_through_pages_of_listings(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    contents = {f"{index % 7}/{index}.csv": text(3, index) for index in range(40)}
    for name, content in contents.items():
        store.put(f"in/{name}", content)
    store.put("in/readme.txt", b"not for us")
    store.put("inside.csv", text(1))
    store.page = 9
    done = stage("ingest", URL, tmp_path / "out", **store.environment)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == contents
    assert "gcsfs" not in done.stderr


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_listing_without_an_end_is_refused(store: Proxy, stage: Stage, tmp_path: Path, page: int) -> None:
    """Nor is it proof that an object is gone: what an earlier run brought stays."""
    for name in ("a", "b"):
        store.put(f"in/{name}.csv", text(2))
    assert stage("ingest", URL, tmp_path / "out", **store.environment).returncode == 0
    store.delete("in/b.csv")
    store.put("in/c.csv", text(2))
    store.page, store.circular = page, True
    done = stage("ingest", URL, tmp_path / "out", **store.environment)
    assert done.returncode == 1
    assert done.stderr == f"ingest: {URL}: the pages of its listing never end; try again without a proxy\n"
    assert sorted(files(tmp_path / "out")) == ["a.csv", "b.csv"]


def test_one_object_is_a_url_too(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.put("in/a.csv", text(2))
    done = stage("ingest", f"{URL}/a.csv", tmp_path, **store.environment)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"a.csv": text(2)}


def test_no_two_objects_share_a_path(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    names = ["a.csv", "a.CSV", "A.csv", "a.csv/b.csv", "a.csv.gz.csv", "a.CSV.csv", "a.csv.csv", "a/part-00000.csv"]
    names += ["a.csv.parts/part-00000.csv", "a/b.csv", "#1.csv", "*.csv", "[x].csv", "{x}.csv", "%2A.csv", "é.csv"]
    names += ["rejected/a.csv", ".csv", "..csv", ".a.csv"]
    names += ["two words.csv", "e\u0301.csv", "d/" * 20 + "x" * 250 + ".csv", "d/" * 20 + "x" * 249 + "y.csv"]
    for number, name in enumerate(names):
        store.put(f"in/{name}", text(number + 1, number))
    store.put("in/a.csv.gz", gzip.compress(text(99)))
    done = stage("ingest", URL, tmp_path, "--shard-rows", 50, **store.environment)
    assert done.returncode == 0, done.stderr
    got = files(tmp_path)
    parts = [path for path in got if path.startswith("a.csv.gz.csv")]
    assert sorted(parts) == ["a.csv.gz.csv", "a.csv.gz.csv.parts/row-0000000051.csv"]
    whole = {path: content for path, content in got.items() if path not in parts}
    assert sorted(whole.values()) == sorted(text(number + 1, number) for number in range(len(names)))
    assert all(path.isascii() and path.endswith(".csv") and not set(path) & set("*?[]{}!()@+^") for path in got)
    assert whole["a.csv"] == text(1, 0)
    assert whole["two words.csv"]


def test_gzipped_objects_are_inflated(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.put("in/a.csv.gz", gzip.compress(text(3)))
    store.put("in/b.csv", gzip.compress(text(4)), contentEncoding="gzip")
    store.put("in/c.csv", gzip.compress(text(5)))
    done = stage("ingest", URL, tmp_path, **store.environment)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"a.csv.gz.csv": text(3), "b.csv": text(4), "c.csv": text(5)}
    assert "c.csv: unpacked gzip" in done.stderr


def test_a_missing_bucket_or_prefix_is_named(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.put("in/a.csv", text(1))
    for url, reason in (("gs://nowhere/in", "no such bucket"), (f"gs://{BUCKET}/on", "no such object or prefix")):
        done = stage("ingest", url, tmp_path / "out", **store.environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"ingest: {url}: {reason}; check ")
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_object_named_like_the_prefix_hides_nothing(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    """Consoles make such objects to mark a folder."""
    for marker in ("in", "in/"):
        store.put(marker, b"")
    store.put("in/a.csv", text(2))
    for url in (URL, f"{URL}/"):
        done = stage("ingest", url, tmp_path, **store.environment)
        assert done.returncode == 0, done.stderr
        assert files(tmp_path) == {"a.csv": text(2)}


def test_unchanged_objects_are_not_fetched_again(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        store.put(f"in/{name}.csv", text(3))
    assert stage("ingest", URL, tmp_path, **store.environment).returncode == 0
    store.put("in/b.csv", text(4))
    store.delete("in/c.csv")
    store.seen.clear()
    done = stage("ingest", URL, tmp_path, **store.environment)
    assert done.returncode == 0, done.stderr
    assert [request.object for request in store.seen if request.media] == ["in/b.csv"]
    assert files(tmp_path) == {"a.csv": text(3), "b.csv": text(4)}
    store.seen.clear()
    stage("ingest", URL, tmp_path, "--again", **store.environment)
    assert sorted(request.object for request in store.seen if request.media) == ["in/a.csv", "in/b.csv"]


def test_a_requester_pays_bucket_names_its_option(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.put("in/a.csv", text(2))
    store.requester_pays = True
    done = stage("ingest", URL, tmp_path, **store.environment)
    assert done.returncode == 1
    assert "name the project that pays for the requests, as in --user-project my-project" in done.stderr
    done = stage("ingest", URL, tmp_path, "--user-project", "my-project", **store.environment)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"a.csv": text(2)}


PASTED = "MIIEvSECRETkeyOfNobody"


@pytest.mark.parametrize(
    "value",
    [
        f'{{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\n{PASTED}"}}',
        f"-----BEGIN PRIVATE KEY-----\n{PASTED}\n-----END PRIVATE KEY-----",
        PASTED,
        PASTED * 20,
    ],
)
def test_a_key_pasted_for_its_path_is_never_printed(store: Proxy, stage: Stage, tmp_path: Path, value: str) -> None:
    """The variable is the path of a file, and trying again would not help."""
    done = stage("ingest", URL, tmp_path / "out", **store.environment, GOOGLE_APPLICATION_CREDENTIALS=value)
    assert done.returncode == 1
    assert PASTED not in done.stderr and "try again" not in done.stderr
    assert "GOOGLE_APPLICATION_CREDENTIALS: " in done.stderr and "is the path of a file" in done.stderr


@pytest.mark.parametrize("content", ["no JSON", "{}", '{"type": "service_account"}', "BROKEN"])
def test_a_file_that_is_no_key_says_so(store: Proxy, stage: Stage, tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps({**json.loads(service_account(1)), "private_key": PASTED}) if content == "BROKEN" else content
    )
    done = stage("ingest", URL, tmp_path / "out", **store.environment, GOOGLE_APPLICATION_CREDENTIALS=str(path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert PASTED not in done.stderr and "try again" not in done.stderr
    assert "GOOGLE_APPLICATION_CREDENTIALS" in done.stderr


def test_a_url_whose_package_is_missing_says_which(stage: Stage, tmp_path: Path) -> None:
    done = stage("ingest", "s3://bucket/prefix", tmp_path)
    assert (done.returncode, done.stderr) == (1, "ingest: s3://bucket/prefix: Install s3fs to access S3\n")


def test_a_service_account_file_gives_the_token_that_is_sent(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.put("in/a.csv", text(2))
    with token_server() as port:
        key = tmp_path / "key.json"
        key.write_text(service_account(port))
        done = stage("ingest", URL, tmp_path / "out", **store.environment, GOOGLE_APPLICATION_CREDENTIALS=str(key))
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == {"a.csv": text(2)}
    assert {request.headers.get("authorization") for request in store.seen} == {"Bearer token-of-the-test"}


def test_a_missing_service_account_file_is_named(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    path = str(tmp_path / "none.json")
    done = stage("ingest", URL, tmp_path / "out", **store.environment, GOOGLE_APPLICATION_CREDENTIALS=path)
    assert done.returncode == 1
    assert path in done.stderr
    assert done.stderr.count("\n") == 1


def token_server() -> "_TokenServer":
    return _TokenServer()


class _TokenServer:
    """What Google's token endpoint answers."""

    def __enter__(self) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.dumps({"access_token": "token-of-the-test", "expires_in": 3600}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class has it so
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        port: int = self._server.server_address[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def service_account(port: int) -> str:
    """A service account's key file whose tokens come from this machine."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": "ingest@test.example",
        "client_id": "1",
        "token_uri": f"http://127.0.0.1:{port}/token",
    }
    return json.dumps(key)


def once(fault: str | int) -> Fault:
    """A fault for the first request of each object's bytes."""
    met: set[str] = set()

    def decide(request: Request) -> str | int | None:
        if not request.media or request.object in met:
            return None
        met.add(request.object)
        return fault

    return decide


@pytest.mark.parametrize(
    "fault",
    ["flip", "reset", *(pytest.param(slow, marks=pytest.mark.faults) for slow in (429, 500, 503, "half", "stall"))],
)
def test_a_fault_that_passes_is_overcome(store: Proxy, stage: Stage, tmp_path: Path, fault: str | int) -> None:
    for index in range(3):
        store.put(f"in/{index}.csv", text(200, index))
    store.fault = once(fault)
    done = stage("ingest", URL, tmp_path, "--timeout", 1, **store.environment)
    assert done.returncode == 0, done.stderr
    for index in range(3):
        assert checksum(tmp_path / f"{index}.csv") == store.describe(f"in/{index}.csv")["crc32c"]


def test_an_object_that_never_arrives_sound_is_named(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    """All other objects arrive."""
    for name in ("good", "bad"):
        store.put(f"in/{name}.csv", text(20))
    store.fault = lambda request: "flip" if request.media and request.object == "in/bad.csv" else None
    done = stage("ingest", URL, tmp_path, **store.environment)
    assert done.returncode == 1
    assert f"gs://{BUCKET}/in/bad.csv: 5 times it was replaced while it was read, or arrived with" in done.stderr
    assert "1 of 2 files failed: bad.csv" in done.stderr
    assert files(tmp_path) == {"good.csv": text(20)}


@pytest.mark.faults
def test_a_listing_that_is_damaged_on_the_way_loses_nothing(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    for index in range(4):
        store.put(f"in/{index}.csv", text(5, index))
    listings: list[Request] = []

    def first_listing(request: Request) -> str | int | None:
        if request.object == "":
            listings.append(request)
            return "flip" if len(listings) == 1 else None
        return None

    store.fault = first_listing
    done = stage("ingest", URL, tmp_path, **store.environment)
    assert done.returncode == 0, done.stderr
    assert len(files(tmp_path)) == 4


def test_an_object_replaced_while_it_is_read_is_taken_whole(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    old, new = text(RANGE // 60 + 20_000, 1), text(RANGE // 60 + 30_000, 2)
    assert len(old) > RANGE < len(new)
    store.put("in/a.csv", old)

    def replace(request: Request) -> None:
        if request.media and request.start and len(store.seen) > 0 and not replaced:
            replaced.append(request)
            store.put("in/a.csv", new)

    replaced: list[Request] = []
    store.before = replace
    done = stage("ingest", URL, tmp_path, "--shard-rows", 10_000_000, **store.environment)
    assert done.returncode == 0, done.stderr
    assert replaced
    assert files(tmp_path) == {"a.csv": new}


def test_an_object_deleted_after_it_was_listed_is_left_out(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.put("in/a.csv", text(5))
    store.put("in/b.csv", text(6))

    def delete(request: Request) -> None:
        if request.media and request.object == "in/b.csv" and not gone:
            gone.append(request)
            store.delete("in/b.csv")

    gone: list[Request] = []
    store.before = delete
    done = stage("ingest", URL, tmp_path, **store.environment)
    assert done.returncode == 0, done.stderr
    assert "b.csv: skipped, because it was deleted after it was listed" in done.stderr
    assert files(tmp_path) == {"a.csv": text(5)}


def test_no_more_objects_are_fetched_at_a_time_than_asked_for(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    for index in range(12):
        store.put(f"in/{index}.csv", text(3))
    inside, most, lock = [0], [0], threading.Lock()

    def enter(request: Request) -> None:
        if request.media:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            # Long enough for any further request to arrive meanwhile.
            time.sleep(0.1)
            with lock:
                inside[0] -= 1

    store.before = enter
    done = stage("ingest", URL, tmp_path, "--concurrency", 3, **store.environment)
    assert done.returncode == 0, done.stderr
    assert most[0] == 3


def test_sigterm_ends_a_fetch_from_a_bucket_that_hangs(store: Proxy, tmp_path: Path) -> None:
    """It ends at once and leaves nothing behind."""
    store.put("in/a.csv", text(5))
    hanging = threading.Event()

    def hang(request: Request) -> str | None:
        if request.media:
            hanging.set()
            return "stall"
        return None

    store.fault = hang
    command = [sys.executable, "-m", "stages.ingest", URL, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **store.environment}) as process:
        assert hanging.wait(60)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(10) == 143
        # The stage itself allows 0.7 s; a busy machine may add to that.
        assert time.monotonic() - began < 3
    assert files(tmp_path / "out") == {}


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_there_has_the_buckets_checksum(store: Proxy, stage: Stage, tmp_path: Path, seed: int) -> None:
    """Whatever happens on the way."""
    chance = random.Random(seed)
    names = [f"{index}.csv" for index in range(30)]
    for index, name in enumerate(names):
        store.put(f"in/{name}", text(chance.randrange(500), index))
    faults: list[str | int | None] = [429, 500, 503, "reset", "half", "flip", "stall"]
    store.page = 11
    lock = threading.Lock()

    def harm(_: Request) -> str | int | None:
        with lock:
            return chance.choice(faults) if chance.random() < 0.3 else None

    store.fault = harm
    done = stage("ingest", URL, tmp_path, "--timeout", 0.5, **store.environment)
    store.fault = lambda _: None
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    there = files(tmp_path)
    if done.returncode == 0:
        assert sorted(there) == sorted(names)
    else:
        # Without a listing there is nothing, and the URL is named; else each missing object is.
        missing = set(names) - set(there)
        assert URL in done.stderr if not there else all(f"ingest: {name}: gs://" in done.stderr for name in missing)
    for name in there:
        assert checksum(tmp_path / name) == store.describe(f"in/{name}")["crc32c"]


@pytest.mark.faults
def test_a_bucket_that_stays_broken_fails_with_one_line(store: Proxy, stage: Stage, tmp_path: Path) -> None:
    store.fault = lambda _: 503
    done = stage("ingest", URL, tmp_path / "out", **store.environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ingest: {URL}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_large_object_takes_the_memory_of_a_small_one(store: Proxy, tmp_path: Path) -> None:
    peaks = []
    # The least has several ranges, so that both hold one in memory while the next comes.
    for size in (40 << 20, 400 << 20):
        store.put("in/a.csv", HEADER + (b"Who wrote it?," + b"Anna did. " * 1000 + b"\n") * (size // 10_000))
        peaks.append(peak("stages.ingest", URL, tmp_path / str(size), **store.environment))
    assert peaks[1] < 1.1 * peaks[0], peaks
