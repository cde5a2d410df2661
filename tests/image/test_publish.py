"""The script that pushes a release: against a registry that misbehaves, and, where both are, a real one and docker."""

import base64
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.conftest import ROOT
from tests.support.docker import docker_daemon, registry_server
from tests.support.secrets import PLANTED

LOGIN = {"REGISTRY_USERNAME": "me", "REGISTRY_TOKEN": PLANTED}
NOTHING: Mapping[str, str] = MappingProxyType({})
# As `htpasswd -nbB` writes the login down.
PASSWORDS = "me:$2y$05$kF9XyAT6c.xS9akOGUyOGuTw6l4qnctzDD4GwgBgKSMjWtWzxLwwG\n"
DIGEST = "sha256:" + "a" * 64

Publish = Callable[..., subprocess.CompletedProcess[str]]


def run_publish(
    image: str, tag: str, archive: Path, *words: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    publish = [sys.executable, str(ROOT / ".github/publish.py"), image, tag, str(archive), *words]
    done = subprocess.run(publish, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert PLANTED not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@contextlib.contextmanager
def answering(status: int, headers: Mapping[str, str] = NOTHING) -> Iterator[str]:
    """A registry that gives every question this answer; its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def stub(tmp_path: Path) -> Callable[[], list[str]]:
    """A docker on the PATH that writes down what it is told, and what it was told."""
    told = tmp_path / "told"
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    program.chmod(0o755)
    (tmp_path / "image.tar").write_bytes(b"")
    return lambda: told.read_text().splitlines() if told.exists() else []


@pytest.fixture
def publish(stub: Callable[[], list[str]], tmp_path: Path) -> Publish:
    def run(host: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        return run_publish(f"{host}/me/x", "1-a", tmp_path / "image.tar", *words, PATH=path, **environment)

    return run


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 405, 408, 429, 500, 502, 503])
def test_only_a_404_lets_a_tag_be_written(publish: Publish, stub: Callable[[], list[str]], status: int) -> None:
    """A refused login, a limit and a broken server do not say that there is no such image, nor does a bare 200."""
    challenge = {"WWW-Authenticate": 'Basic realm="x"', "Location": "http://127.0.0.1:1/"}
    with answering(status, challenge) as host:
        done = publish(host, **LOGIN)
    assert done.returncode == 1
    assert f"did not say whether me/x:1-a is there: it answered {status}" in done.stderr
    assert [line.split()[0] for line in stub()] == ["login"]


def test_a_registry_that_is_down_is_not_empty(publish: Publish, stub: Callable[[], list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    done = publish(f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert stub() == []


def test_a_registry_that_hangs_up_is_not_empty(publish: Publish, stub: Callable[[], list[str]]) -> None:
    def hang_up() -> None:
        with contextlib.suppress(OSError):
            while True:
                listening.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, daemon=True).start()
        done = publish(f"127.0.0.1:{listening.getsockname()[1]}")
        listening.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 1
    assert stub() == []


def test_a_login_is_sent_by_https_alone(publish: Publish, stub: Callable[[], list[str]]) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://example.test/token",service="x"'}
    with answering(401, challenge) as host:
        done = publish(host, **LOGIN)
    assert done.returncode == 1
    assert "without encryption" in done.stderr


def test_an_image_that_is_there_is_not_pushed(publish: Publish, stub: Callable[[], list[str]]) -> None:
    with answering(200, {"Docker-Content-Digest": DIGEST}) as host:
        done = publish(host)
    assert (done.returncode, done.stdout) == (0, f"digest={DIGEST}\n")
    assert [line.split()[0] for line in stub()] == ["pull", "tag"]


def test_a_version_never_becomes_another_image(publish: Publish, stub: Callable[[], list[str]]) -> None:
    """With docker standing in, and a registry that has the same digest under every tag: it is there already."""
    with answering(200, {"Docker-Content-Digest": DIGEST}) as host:
        assert publish(host, "--version", "1").returncode == 0
    assert not [line for line in stub() if line.startswith("push")]


# With docker and a registry of Debian's.


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with docker_daemon(tmp_path_factory.mktemp("docker")) as environment:
        yield environment


@pytest.fixture
def archive(docker: dict[str, str], tmp_path: Path) -> Path:
    """An image with one file in it, saved as the job that builds does."""
    return saved(docker, tmp_path, "1")


def saved(docker: dict[str, str], folder: Path, content: str) -> Path:
    (folder / "file").write_text(content)
    with tarfile.open(folder / "root.tar", "w") as packed:
        packed.add(folder / "file", "file")
    environment = {**os.environ, **docker}
    subprocess.run(["docker", "import", folder / "root.tar", "answermill:built"], env=environment, check=True)
    subprocess.run(["docker", "save", "-o", folder / "image.tar", "answermill:built"], env=environment, check=True)
    return folder / "image.tar"


def manifest(host: str, tag: str, headers: Mapping[str, str] = NOTHING) -> tuple[int, str | None]:
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("HEAD", f"/v2/me/x/manifests/{tag}", headers={**accept, **headers})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Docker-Content-Digest")


@pytest.mark.image
def test_a_real_push_gives_the_digest(docker: dict[str, str], archive: Path, tmp_path: Path) -> None:
    """The tag stays what it is, whatever is built for it later; a version is a second name of the same image."""
    with registry_server(tmp_path / "registry") as host:
        first = run_publish(f"{host}/me/x", "1-a", archive, "--version", "1", **docker)
        assert first.returncode == 0, first.stderr
        digest = first.stdout.strip().partition("=")[2]
        assert manifest(host, "1-a") == manifest(host, "1") == (200, digest)
        other = saved(docker, tmp_path, "2")
        again = run_publish(f"{host}/me/x", "1-a", other, **docker)
        assert (again.returncode, again.stdout) == (0, first.stdout)
        assert "is there already and stays" in again.stderr
        assert manifest(host, "1-a") == (200, digest)
        # What the registry has, pulled by this digest, is what was built.
        pulled = ["docker", "create", "--name", "pulled", f"{host}/me/x@{digest}", "/none"]
        subprocess.run(pulled, env={**os.environ, **docker}, check=True)
        copied = ["docker", "cp", "pulled:/file", str(tmp_path / "copy")]
        subprocess.run(copied, env={**os.environ, **docker}, check=True)
        assert (tmp_path / "copy").read_text() == "1"
        taken = run_publish(f"{host}/me/x", "2-b", other, "--version", "1", **docker)
        assert taken.returncode == 1
        assert "make another version" in taken.stderr
        assert manifest(host, "1") == (200, digest)


@pytest.mark.image
def test_a_real_registry_that_refuses_the_login(docker: dict[str, str], archive: Path, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text(PASSWORDS)
    with registry_server(tmp_path / "registry", passwords=tmp_path / "passwords") as host:
        for login in ({}, {**LOGIN, "REGISTRY_TOKEN": "wrong"}):
            done = run_publish(f"{host}/me/x", "1-a", archive, **docker, **login)
            assert done.returncode == 1, done.stdout
        basic = base64.b64encode(f"me:{PLANTED}".encode()).decode()
        assert manifest(host, "1-a")[0] == 401
        assert manifest(host, "1-a", {"Authorization": f"Basic {basic}"}) == (404, None)
        done = run_publish(f"{host}/me/x", "1-a", archive, **docker, **LOGIN)
        assert done.returncode == 0, done.stderr
        digest = done.stdout.strip().partition("=")[2]
        assert manifest(host, "1-a", {"Authorization": f"Basic {basic}"}) == (200, digest)


@pytest.mark.image
def test_a_real_registry_that_is_broken_keeps_its_tag(docker: dict[str, str], archive: Path, tmp_path: Path) -> None:
    """Its storage is damaged: it answers 500, and has the image all the same."""
    with registry_server(tmp_path / "registry") as host:
        assert run_publish(f"{host}/me/x", "1-a", archive, **docker).returncode == 0
        (link,) = (tmp_path / "registry").rglob("tags/1-a/current/link")
        before = link.read_text()
        link.write_text("garbage")
        done = run_publish(f"{host}/me/x", "1-a", saved(docker, tmp_path, "2"), **docker)
        assert done.returncode == 1
        assert "it answered 500" in done.stderr
        link.write_text(before)
        assert manifest(host, "1-a")[1] == before
    down = run_publish(f"{host}/me/x", "1-a", archive, **docker)
    assert down.returncode == 1
    assert "Connection refused" in down.stderr
