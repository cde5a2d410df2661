"""What is packed into the image, and by which workflows, held without building it; `tests/test_image.py` builds it."""

import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.image import kept, left_out, one_spelling
from tests.conftest import ROOT

PACKAGES = (ROOT / "image-packages.txt").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def required(package: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a package needs here, with the extras that it asks for."""
    for line in requires(package) or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield one_spelling(need.name), frozenset(need.extras)


def closure() -> set[str]:
    """All that `answermill[stages]` needs, and what these need."""
    waiting = [("answermill", frozenset({"stages"}))]
    found = set(waiting)
    while waiting:
        new = set(required(*waiting.pop())) - found
        found |= new
        waiting.extend(new)
    return {name for name, _ in found} - {"answermill"}


def test_what_the_stages_need_is_in_the_image_or_said_to_be_left_out() -> None:
    held, out = kept(PACKAGES), left_out(PACKAGES)
    assert held.keys() & out.keys() == set()
    assert held.keys() | out.keys() == closure()


def test_every_package_of_the_image_is_pinned_under_the_name_it_has_there() -> None:
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    named = set(re.findall(r"^(\w\S*)\s+# ", PACKAGES, re.MULTILINE))
    assert named - pins == set()
    assert len(named) == len(kept(PACKAGES)) == len(re.findall(r"^\w", PACKAGES, re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_actions_by_commit_and_grant_nothing_by_default(path: Path) -> None:
    text = path.read_text("utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    assert "\npermissions: {}\n" in text
    assert "\nconcurrency:\n" in text
    assert not re.search(r":\s+write\b|latest(?!\n)", text.replace("Never `latest`", "").replace("ubuntu-latest", ""))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("image", "BUILDER="), "make image: docker, podman or buildah is needed, and none answers here"),
        (("image-report",), "make image-report: nothing is built yet; make image first"),
    ],
)
def test_make_says_in_one_line_what_is_missing(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == message
    assert len(done.stderr.splitlines()) == 2


def test_make_test_image_names_the_tool_that_is_missing(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for tool in ("make", "sh", "sed", "python3"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (bin_ / tool).symlink_to(found)
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["make", "--assume-old=.venv/test", "test-image"],
        cwd=tmp_path,
        env={"PATH": str(bin_)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "make test-image: buildah is needed, and is not here"
