"""`python -m image.report image-packages.txt manifest.json`: what the image holds, by size, and why it is there.

Run while the image is built, by the Python whose packages are to be measured; nothing else tells afterwards which file
belongs to which package. Needs no package.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

from runtime.manifest import Manifest

OURS = "answermill"


class Part(NamedTuple):
    """One row of the table: bytes on disk, and why they are there."""

    name: str
    version: str
    size: int
    why: str


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table. Returns the exit code."""
    packages, manifest = argv if argv is not None else sys.argv[1:]
    reasons = {OURS: "the three stages", **reasons_for(Path(packages).read_text("utf-8"))}
    bundle = Manifest.from_json(Path(manifest).read_text("utf-8"))
    parts = [part_of(package, reasons) for package in distributions(path=sys.path[1:])]
    parts.append(Part("/model", "", sum(file.size for file in bundle.files.values()), f"the bundle {bundle.bundle_id}"))
    print(table(parts))
    return 0


def reasons_for(packages: str) -> dict[str, str]:
    """The reason for each package, by its name in one spelling."""
    lines = (re.fullmatch(r"(\w\S*)\s+# (.+)", line) for line in packages.splitlines())
    return {one_spelling(line[1]): line[2] for line in lines if line}


def reasons_against(packages: str) -> dict[str, str]:
    """Why each package is left out though a kept one requires it, by its name in one spelling."""
    lines = (re.fullmatch(r"# without: (.+?)  (.+)", line) for line in packages.splitlines())
    return {one_spelling(name): line[2] for line in lines if line for name in line[1].split(", ")}


def one_spelling(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def part_of(package: Distribution, reasons: dict[str, str]) -> Part:
    """A package with what its files take up, compiled ones included."""
    name = one_spelling(package.metadata["Name"])
    return Part(name, package.version, sum(path.stat().st_size for path in files(package)), reasons[name])


def files(package: Distribution) -> Iterator[Path]:
    """Those of a package's files that are there."""
    for listed in package.files or ():
        path = Path(str(listed.locate()))
        yield from filter(Path.exists, (path, Path(cache_from_source(path))) if path.suffix == ".py" else (path,))


def table(parts: Sequence[Part]) -> str:
    """Markdown, the largest first, with a total."""
    rows = sorted(parts, key=lambda part: (-part.size, part.name))
    rows.append(Part("in all", "", sum(part.size for part in parts), ""))
    lines = [f"| {name} | {version} | {size / 1e6:.1f} | {why} |" for name, version, size, why in rows]
    return "\n".join(["| package | version | MB | why |", "| --- | --- | ---: | --- |", *lines])


if __name__ == "__main__":
    sys.exit(main())
