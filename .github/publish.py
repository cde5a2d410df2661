#!/usr/bin/env python3
"""Pushes the image that was tested, unless the registry has its tag already; plain Python, and docker.

`docker manifest inspect` says "no such manifest" for a refused login and for a broken registry too, so the registry is
asked itself: only a 404 lets a tag be written. A registry that does not answer, or answers anything else, ends the run.
"""

import argparse
import base64
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import NamedTuple

HUB = "registry-1.docker.io"
KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
TIMEOUT = 60


class PublishError(Exception):
    """Why nothing was pushed."""


class Registry(NamedTuple):
    """Where an image lies, and as whom it is asked for."""

    host: str
    name: str
    user: str
    token: str

    @classmethod
    def of(cls, image: str, user: str, token: str) -> "Registry":
        """The registry of an image's name: its first part if that is a host, else Docker Hub."""
        host, _, name = image.partition("/")
        is_host = name and ("." in host or ":" in host or host == "localhost")
        return cls(host, name, user, token) if is_host else cls(HUB, image, user, token)

    @property
    def url(self) -> str:
        """The image's URL in the registry's API."""
        # docker speaks plain HTTP with this machine alone, too.
        local = self.host.partition(":")[0] in ("localhost", "127.0.0.1")
        return f"{'http' if local else 'https'}://{self.host}/v2/{self.name}"

    def digest(self, tag: str) -> str | None:
        """The registry's digest of the tag, None if it answers 404. Raises PublishError for any other answer."""
        url = f"{self.url}/manifests/{tag}"
        headers = {"Accept": ", ".join(KINDS)}
        status, answer = head(url, headers)
        if status == 401 and self.user:
            headers["Authorization"] = self.authorization(answer["WWW-Authenticate"] or "")
            status, answer = head(url, headers)
        if status == 404:
            return None
        digest = str(answer["Docker-Content-Digest"] or "")
        if status != 200 or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise PublishError(f"{self.host} did not say whether {self.name}:{tag} is there: it answered {status}")
        return digest

    def authorization(self, challenge: str) -> str:
        """The header that answers a challenge: the login itself, or a token that the login is exchanged for."""
        login = "Basic " + base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        if not challenge.lower().startswith("bearer "):
            return login
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urllib.parse.urlsplit(asked.pop("realm", ""))
        if realm.scheme != "https":
            raise PublishError(f"{self.host} wants the login to be sent without encryption")
        url = f"{realm.geturl()}?{urllib.parse.urlencode(asked)}"
        request = urllib.request.Request(url, headers={"Authorization": login})  # noqa: S310 - https
        with urllib.request.build_opener(Stay).open(request, timeout=TIMEOUT) as answer:
            token = json.load(answer)
        return f"Bearer {token.get('token') or token['access_token']}"


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would take the login to another host."""

    def redirect_request(self, *_: object) -> None:
        """None: the redirect is the answer."""


def head(url: str, headers: dict[str, str]) -> tuple[int, Message]:
    """The status of an answer and its headers."""
    request = urllib.request.Request(url, headers=headers, method="HEAD")  # noqa: S310 - http(s), see Registry.url
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def docker(*words: str, given: bytes | None = None) -> str:
    """Runs docker; what it says besides goes to the log."""
    return subprocess.run(["docker", *words], input=given, stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def publish(registry: Registry, image: str, tag: str, archive: Path, loaded: str) -> str:
    """The digest under which the registry has the tag; pushed now, or there already."""
    name = f"{image}:{tag}"
    there = registry.digest(tag)
    if there:
        print(f"{name} is there already and stays", file=sys.stderr)
        docker("pull", "--quiet", f"{image}@{there}")
        docker("tag", f"{image}@{there}", name)
        return there
    docker("load", given=unpack(archive))
    docker("tag", loaded, name)
    docker("push", "--quiet", name)
    pushed = {part.partition("@")[2] for part in json.loads(docker("inspect", "--format={{json .RepoDigests}}", name))}
    digest = registry.digest(tag)
    if digest is None or digest not in pushed:
        raise PublishError(f"{name} was pushed, and the registry has something else under it")
    return digest


def add_version(registry: Registry, image: str, tag: str, version: str, digest: str) -> None:
    """Gives the image its version as a second tag; a version that is there never becomes another image."""
    there = registry.digest(version)
    if there not in (None, digest):
        raise PublishError(f"{image}:{version} is there already as {there}; make another version")
    if there is None:
        docker("tag", f"{image}:{tag}", f"{image}:{version}")
        docker("push", "--quiet", f"{image}:{version}")


def unpack(archive: Path) -> bytes:
    """What `docker save` wrote."""
    if archive.suffix != ".zst":
        return archive.read_bytes()
    return subprocess.run(["zstd", "-dc", str(archive)], stdout=subprocess.PIPE, check=True).stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Prints `digest=…` for the workflow. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Pushes the image that was tested, unless its tag is there.")
    parser.add_argument("image", help="name without a tag")
    parser.add_argument("tag", help="of one image for ever")
    parser.add_argument("archive", type=Path, help="what `docker save` wrote; .zst is unpacked")
    parser.add_argument("--loaded", default="answermill:built", help="name of the image in the archive")
    parser.add_argument("--version", help="a second tag")
    options = parser.parse_args(argv)
    user, token = os.environ.get("REGISTRY_USERNAME", ""), os.environ.get("REGISTRY_TOKEN", "")
    registry = Registry.of(options.image, user, token)
    try:
        # The login is kept for these commands alone.
        with tempfile.TemporaryDirectory() as folder:
            os.environ["DOCKER_CONFIG"] = folder
            if user:
                host = [] if registry.host == HUB else [registry.host]
                docker("login", "--username", user, "--password-stdin", *host, given=token.encode())
            digest = publish(registry, options.image, options.tag, options.archive, options.loaded)
            if options.version:
                add_version(registry, options.image, options.tag, options.version, digest)
    except subprocess.CalledProcessError as error:
        print(f"publish: docker failed: {' '.join(error.cmd[:2])}", file=sys.stderr)
        return 1
    except (PublishError, OSError, ValueError, KeyError, http.client.HTTPException) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    print(f"digest={digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
