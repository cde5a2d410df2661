"""Docker's daemon and a registry, Debian's, of a test's own: both end with it, and touch no other one's images."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until


@contextlib.contextmanager
def docker_daemon(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which docker's client reaches a daemon that keeps everything in the folder."""
    for tool in ("docker", "dockerd"):
        if not shutil.which(tool):
            pytest.skip(f"NOT TESTED: {tool} (Debian's docker.io) is needed, and is not here")
    # The path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="answermill-docker-") as sockets, (folder / "log").open("wb") as log:
        address = f"unix://{sockets}/docker"
        command = ["dockerd", "--iptables=false", "--bridge=none", "--host", address, "--pidfile", f"{sockets}/pid"]
        command += ["--data-root", str(folder / "data"), "--exec-root", f"{sockets}/exec"]
        environment = {"DOCKER_HOST": address, "DOCKER_BUILDKIT": "0"}
        with subprocess.Popen(command, stdout=log, stderr=log) as daemon:
            try:
                until(lambda: daemon.poll() is not None or _answers(Path(sockets) / "docker"))
                if daemon.poll() is not None:
                    pytest.skip(f"NOT TESTED: dockerd does not start here: {(folder / 'log').read_text()[-300:]}")
                yield environment
            finally:
                daemon.terminate()
                daemon.wait(60)
                release(Path(sockets), folder)


def release(*folders: Path) -> None:
    """Unmounts what a daemon has left mounted, such as the network of containers that are gone."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    for mount in reversed(mounts):
        if any(Path(mount).is_relative_to(folder) for folder in folders):
            subprocess.run(["umount", "--lazy", mount], check=False)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        if client.connect_ex(str(path)) != 0:
            return False
        client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        with contextlib.suppress(OSError):
            return b"200 OK" in client.recv(1000)
        return False


@contextlib.contextmanager
def registry_server(folder: Path, passwords: Path | None = None) -> Iterator[str]:
    """The address of a registry that keeps its images in the folder, for those with one of the passwords."""
    if not shutil.which("docker-registry"):
        pytest.skip("NOT TESTED: docker-registry (Debian's) is needed, and is not here")
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    auth = f"auth:\n  htpasswd: {{realm: test, path: {passwords}}}\n" if passwords else ""
    settings = folder.with_suffix(".yml")
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {folder}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n{auth}"
    )
    command = ["docker-registry", "serve", str(settings)]
    with folder.with_suffix(".log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            until(lambda: server.poll() is None and _listens(port))
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
