"""Where things of the image are on this machine.

A spec speaks of the image: `python`, `/pfs`, `/model`, the paths secrets are mounted at. Here `python` is the
interpreter that runs this, and each of the paths, wherever it stands in a command or a variable, is replaced by the
local folder that it maps to.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.spec.model import Secret
from pachyderm.spec.reading import Pipeline

# What a stage gets of the shell's variables; the rest is the spec's and the worker's. A container has its image's.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
PROJECT = "default"


@dataclass(frozen=True, slots=True)
class LocalMapping:
    """How paths, secrets and variables of the image map to this machine.

    Attributes:
        paths: folder here by path in the image, such as {"/model": Path("build/model")}.
        secrets: a folder with one folder per secret, one file per key.
        without: secrets that are not needed here; their folders are empty.
        environment: variables that beat those of the specs; None takes one away.
        real_pfs: whether /pfs is mounted for each process, instead of being replaced by a folder.

    """

    paths: Mapping[str, Path] = field(default_factory=dict)
    secrets: Path = Path("secrets")
    without: frozenset[str] = frozenset()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    real_pfs: bool = False


def translate(text: str, paths: Mapping[str, Path]) -> str:
    """The text with each path of the image replaced by the one here: `--out=/pfs/out` -> `--out=/tmp/x/out`."""
    if not paths:
        return text
    longest_first = sorted(paths, key=len, reverse=True)
    # Neither `gs://bucket/model` nor `/models` speaks of /model.
    pattern = rf"(?<![\w./-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])"
    return re.sub(pattern, lambda match: str(paths[match[1]]), text)


def command(words: Sequence[str], paths: Mapping[str, Path]) -> list[str]:
    """The command with paths of this machine and this interpreter."""
    first = sys.executable if words[0] in ("python", "python3") else translate(words[0], paths)
    return [first, *(translate(word, paths) for word in words[1:])]


def path_map(pipeline: Pipeline, mapping: LocalMapping, pfs: Path, empty: Path) -> dict[str, Path]:
    """Folder here by path in the image, for the processes of one worker. Raises PachydermError for a missing secret."""
    paths = {image.rstrip("/"): here.absolute() for image, here in mapping.paths.items()}
    if not mapping.real_pfs:
        paths["/pfs"] = pfs.absolute()
    for secret in pipeline.transform.secrets:
        if secret.mount_path:
            paths[secret.mount_path.rstrip("/")] = secret_folder(mapping, secret.name, empty).absolute()
    return paths


def secret_folder(mapping: LocalMapping, name: str, empty: Path) -> Path:
    """The folder with the files of a secret. Raises PachydermError if there is none."""
    if name in mapping.without:
        return empty
    folder = mapping.secrets / name
    if not folder.is_dir():
        raise PachydermError(
            f"secret {name}: no folder {folder}; create it with one file per key, or run with --without-secret {name}"
        )
    return folder


def worker_environment(
    pipeline: Pipeline, mapping: LocalMapping, paths: Mapping[str, Path], names: Mapping[str, str]
) -> dict[str, str]:
    """What a worker's processes find in their environment, whatever the datum. Raises PachydermError."""
    environment = {name: value for name in _INHERITED if (value := os.environ.get(name)) is not None}
    for name, value in pipeline.transform.env.items():
        environment[name] = translate(value, paths)
    for secret in pipeline.transform.secrets:
        if secret.env_var and secret.name not in mapping.without:
            environment[secret.env_var] = _secret_value(mapping, secret)
    environment |= {
        "PACH_IN_WORKER": "true",
        "PACH_NAMESPACE": "default",
        "PPS_PROJECT_NAME": PROJECT,
        "PPS_PIPELINE_NAME": pipeline.name,
        "PPS_SPEC_COMMIT": pipeline.digest.ljust(32, "0"),
        "PPS_WORKER_IP": "127.0.0.1",
        "PEER_PORT": "1653",
        # Pachyderm's own database: it hides variables of these names, so here too.
        "POSTGRES_USER": "pachyderm",
        "POSTGRES_DATABASE": "pachyderm",
        "POSTGRES_HOST": "",
        "POSTGRES_PORT": "",
        **names,
    }
    environment.pop("POSTGRES_PASSWORD", None)
    for name, given in mapping.environment.items():
        if given is None:
            environment.pop(name, None)
        else:
            environment[name] = given
    return environment


def secret_values(pipeline: Pipeline, mapping: LocalMapping) -> list[str]:
    """What the specs take from secrets into variables: never to be written down."""
    return [
        _secret_value(mapping, secret)
        for secret in pipeline.transform.secrets
        if secret.env_var and secret.name not in mapping.without
    ]


def _secret_value(mapping: LocalMapping, secret: Secret) -> str:
    file = secret_folder(mapping, secret.name, Path()) / secret.key
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise PachydermError(f"secret {secret.name}: {file}: {error.strerror}") from error
