"""The image, built on a base of this test's own, and run the way a strict cluster runs it.

A base image cannot be pulled where no hub answers, so Debian's own packages make one; with docker it is pushed to a
registry on this machine, and taken from there by its digest. What was built is run from
its files, with plain Linux means: read-only, as the image's user, with a network or without.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from benchmarks.preparing import random_checkpoint
from tests.conftest import ROOT
from tests.support.docker import docker_daemon, registry_server
from tests.support.image_base import make_base, pip_server, run

BASE = "localhost/answermill-base"
# DistilBERT-base with random weights: the size of the default model, whose real weights are on a hub.
DISTILBERT = "models/distilbert-base"

# The root read-only; /tmp, /proc, /dev and /pfs as a pod has them; no shell to be found. `$@` are the words to run.
_ENTER = """
set -e
root=$1 pfs=$2 user=$3 socket=$4
shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$pfs" "$root/pfs"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
if test -n "$socket"; then
    touch "$root/tmp/${socket##*/}"
    mount --bind "$socket" "$root/tmp/${socket##*/}"
fi
for shell in "$root"/usr/bin/sh "$root"/usr/bin/*ash; do
    if test -f "$shell" && ! test -L "$shell"; then mount --bind /dev/null "$shell"; fi
done
exec chroot --userspec="$user" --groups= "$root" "$@"
"""


@dataclass(frozen=True)
class Image:
    """What was built: its files in a folder, and its configuration as an engine reads it."""

    root: Path
    config: Mapping[str, object]

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.config["Env"])  # type: ignore[attr-defined]

    @property
    def site(self) -> Path:
        return next(self.root.glob("opt/answermill/lib/python3*/site-packages"))

    def run(
        self,
        pfs: Path,
        *words: str,
        network: bool = False,
        socket: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a program as a pod would, with `pfs` as the one folder that stays; a `socket` shows up in /tmp."""
        for path in (pfs, *pfs.rglob("*")):
            os.chown(path, 10001, 10001, follow_symlinks=False)
        spaces = ["unshare", "--mount", "--pid", "--fork", *([] if network else ["--net"])]
        enter = ["sh", "-c", _ENTER, "enter", str(self.root), str(pfs), str(self.config["User"]), str(socket or "")]
        return subprocess.run(
            [*spaces, *enter, *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )


@dataclass(frozen=True)
class Workshop:
    """What builds images, the base they stand on, and a copy of the working tree to build from, all in one folder."""

    folder: Path
    builder: str
    base_name: str
    build_options: str
    environment: dict[str, str]
    registry: str = ""

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def base(self) -> Path:
        return self.folder / "base"

    def do(self, *words: object) -> str:
        """Runs the builder."""
        return run(self.environment, self.builder, *words)

    def image(self, name: str, model: str, *options: str) -> Image:
        """Builds with `make image`."""
        settings = [f"IMAGE={name}", f"MODEL={model}", f"BASE={self.base_name}", "COMMIT=0123abc"]
        settings += [f"BUILDER={self.builder}", f"BUILD_OPTIONS={self.build_options}", *options]
        command = ["make", "-C", str(self.tree), "image", *settings]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        assert ("has no digest" in ran.stderr) is ("@" not in self.base_name)
        if self.builder == "docker":
            root = self.folder / "roots" / model
            root.mkdir(parents=True)
            return exported(name, ["docker"], root, self.environment)
        container = self.do("from", "--pull-never", name)
        config = json.loads(self.do("inspect", "--type", "image", name))["OCIv1"]["config"]
        return Image(Path(self.do("mount", container)), config)


@contextlib.contextmanager
def open_workshop(folder: Path) -> Iterator[Workshop]:
    """With docker and a registry where both are, with buildah where not; the tree has DISTILBERT besides."""
    if not shutil.which("debootstrap"):
        pytest.skip("NOT TESTED: debootstrap is needed to make a base image, and is not here")
    tools = [tool for tool in ("dockerd", "docker-registry", "buildah") if shutil.which(tool)]
    if not tools or tools == ["docker-registry"] or tools == ["dockerd"]:
        pytest.skip("NOT TESTED: docker.io with docker-registry, or buildah, is needed, and neither is here")
    copy_tree(folder / "tree")
    with pip_server() as address:
        make_base(folder / "base", address)
        is_docker = {"dockerd", "docker-registry"} <= {*tools}
        with docker_workshop(folder) if is_docker else contextlib.nullcontext(buildah_workshop(folder)) as workshop:
            yield workshop


def copy_tree(folder: Path) -> None:
    """The working tree, with DISTILBERT."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    random_checkpoint(folder / DISTILBERT)


def buildah_workshop(folder: Path) -> Workshop:
    """With a store of its own, and a base that has no digest."""
    storage = folder / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "store"}"\nrunroot = "{folder / "run"}"\n', "utf-8"
    )
    environment = {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(storage),
        "BUILDAH_ISOLATION": "chroot",
        "STORAGE_DRIVER": "vfs",
    }
    workshop = Workshop(folder, "buildah", BASE, "", environment)
    container = workshop.do("from", "scratch")
    run(environment, "cp", "-a", f"{workshop.base}/.", workshop.do("mount", container))
    workshop.do("commit", "--rm", container, BASE)
    return workshop


@contextlib.contextmanager
def docker_workshop(folder: Path) -> Iterator[Workshop]:
    """With a daemon and a registry of its own; the base is taken from there by its digest."""
    (folder / "docker").mkdir()
    with docker_daemon(folder / "docker") as docker, registry_server(folder / "registry") as host:
        environment = {**os.environ, **docker}
        with subprocess.Popen(["tar", "-c", "-C", folder / "base", "."], stdout=subprocess.PIPE) as packed:
            imported = ["docker", "import", "-", f"{host}/base:1"]
            subprocess.run(imported, stdin=packed.stdout, env=environment, check=True, stdout=subprocess.DEVNULL)
        run(environment, "docker", "push", "--quiet", f"{host}/base:1")
        digests = json.loads(run(environment, "docker", "inspect", "--format={{json .RepoDigests}}", f"{host}/base:1"))
        run(environment, "docker", "rmi", f"{host}/base:1")
        # Each time from nothing.
        yield Workshop(folder, "docker", digests[0], "--network host --no-cache", environment, host)


def exported(image: str, builder: Sequence[str], folder: Path, environment: Mapping[str, str] = os.environ) -> Image:
    """An image that docker or podman has, unpacked."""
    container = run(environment, *builder, "create", image)
    with subprocess.Popen([*builder, "export", container], stdout=subprocess.PIPE, env=environment) as packed:
        subprocess.run(["tar", "-x", "--numeric-owner", "-C", folder], stdin=packed.stdout, check=True)
    run(environment, *builder, "rm", container)
    return Image(folder, json.loads(run(environment, *builder, "image", "inspect", image))[0]["Config"])
