"""What is packed into the image, and by which workflows, held without building it; `tests/test_image.py` builds it."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from image.hashes import TITLES, read, read_pins
from image.report import one_spelling, reasons_against, reasons_for
from tests.conftest import ROOT

PACKAGES = (ROOT / "image-packages.txt").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def required(package: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a package needs here, with the extras that it asks for."""
    for line in requires(package) or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield one_spelling(need.name), frozenset(need.extras)


def closure(extra: str) -> set[str]:
    """All that `answermill[EXTRA]` needs, and what these need."""
    waiting = [("answermill", frozenset({extra}))]
    found = set(waiting)
    while waiting:
        new = set(required(*waiting.pop())) - found
        found |= new
        waiting.extend(new)
    return {name for name, _ in found} - {"answermill"}


def test_the_image_holds_what_the_stages_need() -> None:
    """Or the list says that a package is left out."""
    held, out = reasons_for(PACKAGES), reasons_against(PACKAGES)
    assert held.keys() & out.keys() == set()
    assert held.keys() | out.keys() == closure("stages")


def test_every_package_of_the_image_is_pinned() -> None:
    """It is pinned under the name that it has there."""
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    named = set(re.findall(r"^(\w\S*)\s+# ", PACKAGES, re.MULTILINE))
    assert named - pins == set()
    assert len(named) == len(reasons_for(PACKAGES)) == len(re.findall(r"^\w", PACKAGES, re.MULTILINE))


@pytest.mark.parametrize("group", TITLES)
def test_the_digests_are_those_of_the_pins(group: str) -> None:
    """After a pin has changed, `make hashes` writes them anew."""
    pins = read_pins((ROOT / "constraints.txt").read_text("utf-8"))
    listed = read(ROOT / f"hashes/{group}.txt")
    versions = dict(requirement.split("==") for requirement in listed)
    assert versions == {name: pins.get(name) for name in versions}, "a pin has changed: make hashes"
    text = (ROOT / f"hashes/{group}.txt").read_text("utf-8")
    assert text.count("==") == len(listed), "each has a digest"
    assert not re.search(r"https?:|--(extra-)?index|--find", text)


def test_the_digests_cover_what_is_installed() -> None:
    """pip is told to install these and nothing that they need beside them."""
    names = {group: {line.partition("==")[0] for line in read(ROOT / f"hashes/{group}.txt")} for group in TITLES}
    assert names["image"] == reasons_for(PACKAGES).keys(), "image-packages.txt has changed: make hashes"
    pins = read_pins((ROOT / "constraints.txt").read_text("utf-8"))
    # torch with CUDA names NVIDIA's packages, which have no pin.
    assert names["export"] | names["torch"] == closure("export") & pins.keys(), "make hashes"
    assert {"setuptools", "cyclonedx-bom"} <= names["build"]


def test_the_image_is_built_with_digests_only() -> None:
    """What pip is asked for without one lies in the build's own folder."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    asked = re.findall(r"\bpip(?: --python \S+)? install (.*?)(?:&&|;|\n)", text)
    assert len(asked) == 4
    assert [words for words in asked if "--require-hashes" not in words and "wheel/*.whl" not in words] == []
    assert "# syntax=" not in text, "a frontend that floats would be fetched"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_actions_by_commit(path: Path) -> None:
    """They grant nothing by default."""
    text = path.read_text("utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    assert "\npermissions: {}\n" in text
    assert "\nconcurrency:\n" in text
    assert "latest" not in text.replace("Never `latest`", "").replace("ubuntu-latest", "")


def test_the_job_that_runs_foreign_code_never_holds_the_token() -> None:
    """Whatever the tests' packages leave running as root could wait for it."""
    text = (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    build, push = text.split("jobs:\n")[1].split("\n  push:\n")
    assert "secrets." not in build and not re.search(r":\s+write\b", build)
    assert re.findall(r"(\S+):\s+write\b", push) == ["id-token", "attestations"]
    assert not re.search(r"\b(make|sudo)\b|pip install", re.sub("#.*", "", push))
    assert not re.search(r":\s+write\b|secrets\.", (ROOT / ".github/workflows/ci.yml").read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("image", "BUILDER=/nonexistent"), "make image: docker, podman or buildah is needed, and none answers here"),
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


# Each would leave a file called `ran` behind if make or a shell took any of it for code.
HOSTILE = (
    "a`touch ran`",
    "$(touch ran)",
    "$$(touch ran)",
    "$(shell touch ran)",
    '"; touch ran; echo "',
    "'; touch ran; echo '",
    "a; touch ran",
    "a && touch ran #",
    "a | touch ran",
    "a > ran",
    "a,$(touch ran),b",
    "${IFS}touch${IFS}ran",
    "-x $(eval X := $(shell touch ran))",
)
TARGETS = {
    "deploy-plan": ("IMAGE", "BUCKET", "REPO", "BUCKET_KEY", "REPROCESS", "DEPLOY_OPTIONS"),
    "secrets": ("BUCKET_KEY", "DEPLOY_OPTIONS"),
    "undeploy": ("WITH_SECRETS", "DEPLOY_OPTIONS"),
    "export-model": ("MODEL", "REVISION", "OUTPUT", "OPTIONS"),
    "image": ("IMAGE", "MODEL", "BASE", "REVISION", "COMMIT", "OPTIONS", "BUILD_OPTIONS", "TORCH_INDEX"),
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """make in a folder where Python and the builder only print the words that they are given."""
    program = tmp_path / "stub"
    program.write_text('#!/bin/sh\nfor word; do printf "<%s>\\n" "$word"; done\n')
    program.chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(program)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        words = ["make", "--assume-old=.venv/demo", f"PYTHON={program}", f"BUILDER={program}", *arguments]
        return subprocess.run(
            words, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.mark.parametrize("target", TARGETS)
def test_no_value_given_to_make_runs_as_code(
    target: str, make: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for name in TARGETS[target]:
        for value in HOSTILE:
            done = make(target, f"{name}={value}")
            again = make(target, **{f"ANSWERMILL_{name}": value})
            assert not (tmp_path / "ran").exists(), (name, value, done.stdout, again.stdout)


def test_make_hands_values_on_as_they_stand(make: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = make("deploy-plan", "IMAGE=a b$$(c):1", "BUCKET=gs://b/'x'")
    assert "<a b$$(c):1>" in done.stdout
    assert "<gs://b/'x'>" in done.stdout


def test_an_image_says_whether_its_base_has_a_digest(
    make: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE=python:3.12-slim-bookworm\n")
    digest = f"sha256:{'a' * 64}"
    pinned = make("image", f"BASE=python:3.12@{digest}")
    assert {f"<org.opencontainers.image.base.digest={digest}>", f"<answermill.base={digest}>"} <= {
        *pinned.stdout.splitlines()
    }
    assert "has no digest" not in pinned.stderr
    by_name = make("image")
    assert "<org.opencontainers.image.base.name=python:3.12-slim-bookworm>\n" in by_name.stdout
    assert "base.digest" not in by_name.stdout
    assert "<answermill.base=by name alone>" in by_name.stdout
    assert "make image: BASE (python:3.12-slim-bookworm) has no digest" in by_name.stderr


def test_make_takes_no_variable_that_happens_to_be_exported(
    make: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = make("deploy-plan", "BUCKET=gs://b", REPO="other", MODEL="other", IMAGE="other")
    assert "other" not in done.stdout
    assert "<gs://b>" in done.stdout
    assert "<mine>" in make("deploy-plan", ANSWERMILL_REPO="mine").stdout


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
    assert done.stderr.splitlines()[0] == (
        "make test-image: dockerd and docker-registry, or buildah, are needed, and are not here"
    )
