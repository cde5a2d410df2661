"""`python -m image.hashes`: which files pip may install while the image is built, written to hashes/.

The versions are those of constraints.txt. A version alone lets an index hand out other bytes under the same name; by
these digests pip refuses them (`--require-hashes`). Only wheels for Linux on the two common processors are listed: all
files of all packages would be half a megabyte. `make hashes` runs it; it asks indexes and downloads no wheel.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from image.report import one_spelling, reasons_for

PYTHONS = ("3.11", "3.12", "3.13")
PROCESSORS = ("x86_64", "aarch64")
# glibc of Debian 12; newest first, as pip itself prefers them.
_GLIBC = range(36, 16, -1)
# What a stage of the Dockerfile asks pip for; pip says what these need.
WANTED = {
    "export": (
        "onnxruntime",
        "tokenizers",
        "numpy",
        "onnx",
        "optimum[onnxruntime]",
        "threadpoolctl",
        "transformers<4.58",
    ),
    "build": ("setuptools", "cyclonedx-bom"),
}
HEAD = "# {} Made by `make hashes` from constraints.txt; never edited by hand.\n"
TITLES = {
    "image": "What the image holds.",
    "export": "What exports the bundle, in a stage that is thrown away.",
    "build": "What builds the wheel and the SBOM, in a stage that is thrown away.",
    "torch": "torch's builds without CUDA.",
}
Hashes = dict[str, set[str]]


def main() -> int:
    """Writes the files. Returns the exit code."""
    pins = read_pins(Path("constraints.txt").read_text("utf-8"))
    image = set(reasons_for(Path("image-packages.txt").read_text("utf-8")))
    groups = {"image": image, **{name: closure(wanted, pins) for name, wanted in WANTED.items()}}
    every = {name: pins[name] for group in groups.values() for name in group}
    hashes = digests([f"{name}=={version}" for name, version in every.items()])
    for group, names in groups.items():
        write(group, {f"{name}=={every[name]}": hashes[name] for name in names})
    write("torch", torch(pins["torch"]))
    return 0


def read_pins(constraints: str) -> dict[str, str]:
    """The version of each package, by its name in one spelling."""
    pins = (line.partition("==") for line in constraints.splitlines() if re.match(r"\w", line))
    return {one_spelling(name): version for name, _, version in pins}


def closure(wanted: Sequence[str], pins: dict[str, str]) -> set[str]:
    """What pip would install for these, without torch, which has a file of its own.

    Packages without a pin are left out: an index of torch with CUDA names NVIDIA's packages, which a build without CUDA
    does not need.
    """
    report = ask(["-c", "constraints.txt", *wanted])
    return {name for name in report if name in pins} - {"torch"}


def digests(requirements: Sequence[str], *options: str) -> Hashes:
    """The digests of the wheels for every Python and processor, by package."""
    hashes: Hashes = {}
    for python in PYTHONS:
        for processor in PROCESSORS:
            platforms = [f"--platform=manylinux_2_{minor}_{processor}" for minor in _GLIBC]
            wheels = [*platforms, f"--python-version={python}", "--no-deps", f"--target={tempfile.gettempdir()}"]
            for name, digest in ask([*wheels, *options, *requirements]).items():
                hashes.setdefault(name, set()).add(digest)
    return hashes


def torch(version: str) -> Hashes:
    """The digests of TORCH_INDEX; if it does not answer, those that are listed for this version stay."""
    listed = read(Path("hashes/torch.txt"))
    index = ["--retries=0", "--timeout=15", f"--index-url={os.environ['TORCH_INDEX']}"]
    try:
        return {f"torch=={version}": digests([f"torch=={version}"], *index)["torch"]}
    except subprocess.CalledProcessError:
        if f"torch=={version}" not in listed:
            raise
        sys.stderr.write("image.hashes: TORCH_INDEX does not answer; the digests of torch stay as they were\n")
        return listed


def ask(words: Sequence[str]) -> dict[str, str]:
    """What pip would install, and the digest of each file."""
    # From an index only: nobody else has a folder of wheels that lies on this machine.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed", "--report=-"]
    report = subprocess.run(
        [*pip, "--only-binary=:all:", *words], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    parts = json.loads(report.stdout)["install"]
    return {
        one_spelling(part["metadata"]["name"]): part["download_info"]["archive_info"]["hashes"]["sha256"]
        for part in parts
    }


def read(path: Path) -> Hashes:
    """The digests in such a file, by `name==version`; none if it is not there."""
    text = path.read_text("utf-8") if path.exists() else ""
    entries = re.findall(r"^(\S+==\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE)
    return {requirement: set(re.findall("[0-9a-f]{64}", lines)) for requirement, lines in entries}


def write(group: str, hashes: Hashes) -> None:
    """Writes the file of one stage."""
    lines = (f"{requirement}{_lines(hashes[requirement])}\n" for requirement in sorted(hashes))
    Path(f"hashes/{group}.txt").write_text(HEAD.format(TITLES[group]) + "".join(lines), "utf-8")


def _lines(digests: Iterable[str]) -> str:
    return "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(digests))


if __name__ == "__main__":
    sys.exit(main())
