"""The image, built on a base of this test's own, and run the way a strict cluster runs it.

A base image cannot be pulled where there is no registry, so Debian's own packages make one. What was built is run from
its files, with plain Linux means: read-only, as the image's user, with a network or without.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from benchmarks.peers import random_checkpoint
from tests.conftest import ROOT

BASE = "localhost/answermill-base"
# DistilBERT-base with random weights: the size of the default model, whose real weights are on a hub.
DISTILBERT = "models/distilbert-base"
PACKAGES = ("python3", "python3-venv", "python-is-python3", "ca-certificates")

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
    """A store for images, and a copy of the working tree to build from, both in one folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def base(self) -> Path:
        return self.folder / "base"

    def buildah(self, *words: object) -> str:
        ran = subprocess.run(["buildah", *map(str, words)], env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def image(self, name: str, model: str, *options: str) -> Image:
        """Builds with `make image`."""
        volumes = " ".join(f"--volume {volume}:ro" for volume in pip_volumes(self.folder))
        settings = [f"IMAGE={name}", f"MODEL={model}", f"BASE={BASE}", "COMMIT=0123abc", f"BUILD_OPTIONS={volumes}"]
        command = ["make", "-C", str(self.tree), "image", "BUILDER=buildah", *settings, *options]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        container = self.buildah("from", "--pull-never", name)
        config = json.loads(self.buildah("inspect", "--type", "image", name))["OCIv1"]["config"]
        return Image(Path(self.buildah("mount", container)), config)


def open_workshop(folder: Path) -> Workshop:
    """The working tree with DISTILBERT added, and a base image of Debian 12 with its Python."""
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
    workshop = Workshop(folder, environment)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (workshop.tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, workshop.tree / name)
    random_checkpoint(workshop.tree / DISTILBERT)
    make_base(workshop)
    return workshop


def make_base(workshop: Workshop) -> None:
    """Python on Debian 12, as near to the official image as packages come."""
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(workshop.base)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    subprocess.run(["chroot", workshop.base, "apt-get", "clean"], check=True)
    container = workshop.buildah("from", "scratch")
    subprocess.run(["cp", "-a", f"{workshop.base}/.", workshop.buildah("mount", container)], check=True)
    workshop.buildah("commit", "--rm", container, BASE)


def pip_volumes(folder: Path) -> Iterator[str]:
    """pip's configuration here, and every file and folder that it names, for the steps of a build."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = re.findall(r"^(\S+?)='(.*)'$", listed.stdout, re.MULTILINE)
    # Those of the environment are listed first, and win.
    merged: dict[str, str] = {}
    for name, value in settings:
        merged.setdefault(name.rsplit(".", 1)[-1], value.replace("\\n", "\n"))
    lines = [f"{name} = " + "\n    ".join(value.split("\n")) for name, value in merged.items()]
    (folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]), "utf-8")
    yield f"{folder / 'pip.conf'}:/etc/pip.conf"
    for word in dict.fromkeys(word for value in merged.values() for word in value.split()):
        # An index on disk has the files that it links to beside it.
        place = Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)
        if place.is_absolute() and place.exists():
            yield f"{place}:{place}"


def exported(image: str, builder: Sequence[str], folder: Path) -> Image:
    """An image that docker or podman has, unpacked."""
    container = subprocess.run([*builder, "create", image], capture_output=True, text=True, check=True).stdout.strip()
    with subprocess.Popen([*builder, "export", container], stdout=subprocess.PIPE) as packed:
        subprocess.run(["tar", "-x", "-C", folder], stdin=packed.stdout, check=True)
    subprocess.run([*builder, "rm", container], stdout=subprocess.DEVNULL, check=True)
    shown = subprocess.run([*builder, "image", "inspect", image], capture_output=True, text=True, check=True)
    return Image(folder, json.loads(shown.stdout)[0]["Config"])
