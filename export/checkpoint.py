"""Finds a checkpoint: in a local folder, or on a model hub at a pinned revision."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import ExportError

# The default model of transformers 4.57's question-answering pipeline, at the revision which that release names.
DEFAULT_MODEL = "distilbert/distilbert-base-cased-distilled-squad"
DEFAULT_REVISION = "564e9b582944a57a3e586bbb98fd6f0a4118db7f"

# The files that an export needs; the weights of other frameworks stay on the hub.
FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin", "README.md")
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
        return sum(path.stat().st_size for path in _weights(self.folder))


def find(model: str, revision: str | None) -> Checkpoint:
    """The checkpoint in a local folder, or else the hub's, downloaded unless it is in the cache.

    Raises ExportError where there is neither, or where it is no checkpoint for extractive question answering.
    """
    if Path(model).is_dir():
        checkpoint = _local(Path(model).resolve())
    elif Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ExportError(f"{model}: no such folder; give a checkpoint's folder or a hub id")
    else:
        checkpoint = _from_hub(model, revision)
    _check_task(checkpoint)
    return checkpoint


def _local(folder: Path) -> Checkpoint:
    weights = _weights(folder)
    if not weights:
        raise ExportError(f"{folder}: no weights; a checkpoint has model.safetensors or pytorch_model.bin")
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Checkpoint(folder, folder.name, f"sha256:{digest.hexdigest()}", _licence(folder))


def _weights(folder: Path) -> list[Path]:
    return sorted(path for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))


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
        raise ExportError(f"{model} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise ExportError(f"{model}: no such model on the hub; for a private one set HF_TOKEN") from error
    except HFValidationError as error:
        raise ExportError(f"{model}: neither a folder nor a hub id (OWNER/NAME)") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, RequestException) as error:
        raise ExportError(f"{model} is not in the cache, and no model hub can be reached: {WITHOUT_HUB}") from error
    return Checkpoint(folder, model, folder.name, _licence(folder))


def _licence(folder: Path) -> str | None:
    from huggingface_hub import ModelCard

    try:
        licence = ModelCard.load(folder / "README.md").data.get("license")
    except (OSError, ValueError):
        return None
    return str(licence) if licence else None


def _check_task(checkpoint: Checkpoint) -> None:
    try:
        config: dict[str, Any] = json.loads((checkpoint.folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{checkpoint.name}: no readable config.json; is it a checkpoint?") from error
    architectures = config.get("architectures") or ["an unnamed architecture"]
    if not any(name.endswith("ForQuestionAnswering") for name in architectures):
        raise ExportError(
            f"{checkpoint.name} is a checkpoint of another task ({', '.join(architectures)}); "
            "extractive question answering needs one that ends in ForQuestionAnswering"
        )
