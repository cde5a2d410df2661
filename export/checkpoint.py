"""Finds a checkpoint: in a local folder, or on a model hub at a pinned revision."""

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from export.inspection import inspect, weights
from runtime.errors import ExportError

# The default model of transformers 4.57's question-answering pipeline, at the revision which that release names.
DEFAULT_MODEL = "distilbert/distilbert-base-cased-distilled-squad"
DEFAULT_REVISION = "564e9b582944a57a3e586bbb98fd6f0a4118db7f"

# The files that an export needs; the weights of other frameworks stay on the hub.
FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin", "README.md")
# How the revision of a local folder begins.
_OF_WEIGHTS = "sha256:"
FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---", re.DOTALL | re.MULTILINE)
# The longest card that is read, in characters: ten times what cards have. The licence of a longer one is unknown.
LONGEST_FRONT_MATTER = 20_000
# The manifest and the card repeat it, so it is one short line.
LICENCE = re.compile(r"[\w .+()/-]{1,100}")
WITHOUT_HUB = (
    "export the checkpoint that ships with this repository (`make export-model MODEL=models/minilm-qa`), "
    "or set HF_HOME to a cache that holds the model"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        name: hub id, or the folder's name.
        revision: commit of the hub, or `sha256:…` over the weights of a local folder.
        licence: the licence that its card states, or None.

    """

    folder: Path
    name: str
    revision: str
    licence: str | None

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(path.stat().st_size for path in weights(self.folder))

    def check_unchanged(self) -> None:
        """Raises ExportError if a local folder's weights are others by now than those that `revision` names."""
        if self.revision.startswith(_OF_WEIGHTS) and self.revision != _weights_revision(self.folder):
            raise ExportError(
                f"{self.name}: its weights changed while they were read; export it again when nothing writes to it"
            )


def find(model: str, revision: str | None) -> Checkpoint:
    """The checkpoint in a local folder, or else from the hub; downloads it unless it is in the cache.

    Raises ExportError if there is neither, or if it is not a checkpoint for extractive question answering.
    """
    if Path(model).is_dir():
        return _local(Path(model).resolve())
    if Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ExportError(f"{model}: no such folder; give a checkpoint's folder or a hub id")
    checkpoint = _from_hub(model, revision)
    inspect(checkpoint.folder, checkpoint.name)
    return checkpoint


def _local(folder: Path) -> Checkpoint:
    inspect(folder, folder.name)
    return Checkpoint(folder, folder.name, _weights_revision(folder), _licence(folder))


def _weights_revision(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in weights(folder):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{_OF_WEIGHTS}{digest.hexdigest()}"


def _from_hub(model: str, revision: str | None) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from requests import RequestException

    if revision is None and model == DEFAULT_MODEL:
        revision = DEFAULT_REVISION
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES)))
    except GatedRepoError as error:
        raise ExportError(f"{model} is gated: accept its terms on the hub, then set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ExportError(f"{model} has no revision {revision}; name another one with --revision") from error
    except RepositoryNotFoundError as error:
        raise ExportError(f"{model}: no such model on the hub; for a private one set HF_TOKEN") from error
    except HFValidationError as error:
        raise ExportError(f"{model}: neither a folder nor a hub id; give one, such as OWNER/NAME") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, RequestException) as error:
        raise ExportError(f"{model} is not in the cache, and no model hub can be reached: {WITHOUT_HUB}") from error
    return Checkpoint(folder, model, folder.name, _licence(folder))


def _licence(folder: Path) -> str | None:
    """The licence in the front matter of the checkpoint's card; None if there is none, or it cannot be read."""
    import yaml  # type: ignore[import-untyped]

    try:
        with (folder / "README.md").open(encoding="utf-8-sig") as file:
            matter = FRONT_MATTER.match(file.read(LONGEST_FRONT_MATTER))
        fields = yaml.safe_load(matter[1]) if matter else None
    except OSError:
        return None
    except (ValueError, RecursionError, yaml.YAMLError):
        logging.warning("%s: its front matter is not YAML, so the licence is unknown", folder / "README.md")
        return None
    licence = fields.get("license") if isinstance(fields, dict) else None
    return licence if isinstance(licence, str) and LICENCE.fullmatch(licence) else None
