"""Calls pachctl, Pachyderm's command line, with a time limit.

Only "not found" means that a thing does not exist. Any other failure ends the command: without a server pachctl waits
in silence for more than a minute, and an undeploy that took this for "absent" once did nothing and exited with 0.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pachyderm.errors import PachydermError

# How jobs that have not ended are marked in `list job --raw`.
UNFINISHED = ("JOB_CREATED", "JOB_STARTING", "JOB_RUNNING", "JOB_EGRESSING", "JOB_FINISHING")


@dataclass(frozen=True, slots=True)
class Pachctl:
    """Calls pachctl.

    Attributes:
        timeout: seconds that one call may take.

    """

    timeout: float = 60.0

    def exists(self, probe: Sequence[str]) -> bool:
        """Whether an `inspect …` finds the thing. Raises PachydermError if that cannot be told."""
        done = self._call(probe, "")
        if done.returncode == 0:
            return True
        if _is_absent(probe, done.stderr):
            return False
        raise PachydermError(_failure(probe, done.stderr))

    def run(self, words: Sequence[str], stdin: str = "") -> str:
        """What the call prints. Raises PachydermError with what pachctl says."""
        done = self._call(words, stdin)
        if done.returncode:
            raise PachydermError(_failure(words, done.stderr))
        return done.stdout

    def spec(self, pipeline: str) -> Mapping[str, Any] | None:
        """The spec that a pipeline was made from; empty if the server does not say, None without such a pipeline."""
        probe = ("inspect", "pipeline", pipeline, "--raw")
        if not self.exists(probe):
            return None
        try:
            info = json.loads(self.run(probe))
            spec = json.loads(info.get("user_spec_json") or info.get("userSpecJson") or "{}")
        except (ValueError, AttributeError, RecursionError):
            return {}
        return spec if isinstance(spec, dict) else {}

    def unfinished_jobs(self, pipeline: str) -> list[str]:
        """Ids of a pipeline's jobs that have not ended."""
        jobs = objects(self.run(("list", "job", "-p", pipeline, "--raw")))
        return [job["job"]["id"] for job in jobs if job.get("state") in UNFINISHED]

    def _call(self, words: Sequence[str], stdin: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                ["pachctl", *words],  # noqa: S607
                input=stdin,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise PachydermError(
                "pachctl is not on the PATH; download it from https://github.com/pachyderm/pachyderm/releases"
            ) from error
        except PermissionError as error:
            raise PachydermError("pachctl is not executable; chmod +x it, or put another on the PATH") from error
        except subprocess.TimeoutExpired as error:
            raise PachydermError(
                f"pachctl {shlex.join(words)}: no answer within {self.timeout:g} s; check whether `pachctl version` "
                "reaches the server, or give a longer --rpc-timeout"
            ) from error


def _is_absent(probe: Sequence[str], stderr: str) -> bool:
    """Whether the server did not find this very thing; `services "pachd" not found` says nothing about it.

    The forms: `pipeline "load" not found`, `secrets "name" not found`, `repo default/questions not found`.
    """
    kind, name = probe[1], probe[2].rpartition(":")[2]
    return bool(re.search(rf'\b{kind}s?\b[^\n]*["/ ]{re.escape(name.lstrip("/"))}\b[^\n]* not found', stderr))


def _failure(words: Sequence[str], stderr: str) -> str:
    return f"pachctl {shlex.join(words)}: {' '.join(stderr.split()) or 'failed without a message'}"


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream: pachctl writes no list. Raises PachydermError."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise PachydermError(f"pachctl list job: not JSON: {error}") from error
        yield value
