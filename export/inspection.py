"""Checks a checkpoint's files before any library loads them, and names what is wrong with its remedy."""

import json
from pathlib import Path
from typing import Any

from runtime.errors import ExportError

# Any one of these is a tokenizer, together with what its own class wants beside it.
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
# Sizes by the names that the families have for them; others are left to their libraries.
SIZES = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"),
    *("dim", "hidden_dim", "n_heads", "n_layers"),
    *("max_position_embeddings", "vocab_size"),
)
# Large tables of tokens and weights, which hold no settings; a token may be called "auto_map".
TABLES = ("tokenizer.json", "vocab.json", "added_tokens.json")
# Files that the libraries read, and take for objects without looking.
OBJECTS = ("config.json", "tokenizer_config.json", "tokenizer.json")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def weights(folder: Path) -> list[Path]:
    """The files of weights, in order."""
    return sorted(path for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))


def inspect(folder: Path, name: str) -> None:
    """Raises ExportError for a checkpoint that cannot be exported, or that wants its own code to be run."""
    if not weights(folder):
        raise ExportError(f"{folder}: no weights; a checkpoint has model.safetensors or pytorch_model.bin")
    _check_pointers(folder, name)
    settings = {path.name: _read_json(path, name) for path in sorted(folder.glob("*.json"))}
    for file, value in settings.items():
        if file not in TABLES and not file.endswith(".index.json") and _has_key(value, "auto_map"):
            raise ExportError(
                f"{name}: {file} has an auto_map, so the checkpoint wants its own Python code to be run, which the "
                "export never does; use a checkpoint whose architecture is part of transformers"
            )
    _check_objects(settings, name)
    _check_task(settings.get("config.json"), name)
    _check_sizes(settings["config.json"], name)
    if not any(path for pattern in TOKENIZERS for path in folder.glob(pattern)):
        raise ExportError(
            f"{name}: no tokenizer; put tokenizer.json, vocab.txt, vocab.json with merges.txt, or the SentencePiece "
            ".model of the base model beside the weights"
        )


def _check_pointers(folder: Path, name: str) -> None:
    for path in sorted(folder.iterdir()):
        # Reading a pipe would wait for ever; a broken link is a download that was cut off.
        if not path.is_dir() and not path.is_file():
            raise ExportError(f"{name}: {path.name} is not a regular file; download the checkpoint again")
    for path in sorted((*weights(folder), *folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model"))):
        if path.is_dir():
            raise ExportError(f"{name}: {path.name} is a folder and not a file; download the checkpoint again")
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
        if head == LFS_POINTER:
            raise ExportError(
                f"{name}: {path.name} is a Git LFS pointer and not the file itself; run `git lfs pull` in {folder}"
            )
        if not head:
            raise ExportError(f"{name}: {path.name} is empty; download the checkpoint again")


def _read_json(path: Path, name: str) -> Any:
    text = path.read_bytes()
    if text.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ExportError(f"{name}: {path.name} begins with a byte order mark; save it as UTF-8 without BOM")
    try:
        return json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{name}: {path.name} is not JSON ({error}); download the checkpoint again") from error


def _has_key(value: Any, key: str) -> bool:
    """Whether a JSON value has this key at any depth; without recursion, which odd files exhaust."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if key in each:
                return True
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return False


def _check_objects(settings: dict[str, Any], name: str) -> None:
    """The libraries would say that some object does not support item assignment."""
    for file in OBJECTS:
        if file in settings and not isinstance(settings[file], dict):
            kind = "null" if settings[file] is None else f"a {type(settings[file]).__name__}"
            raise ExportError(f"{name}: {file} is {kind}, not an object; download the checkpoint again")


def _check_task(config: Any, name: str) -> None:
    if config is None:
        raise ExportError(f"{name}: no config.json; name the folder of a checkpoint, which has one")
    architectures = config.get("architectures") or ["an unnamed architecture"]
    if not isinstance(architectures, list) or not all(isinstance(each, str) for each in architectures):
        raise ExportError(f"{name}: config.json: architectures is not a list of names; download the checkpoint again")
    if not any(each.endswith("ForQuestionAnswering") for each in architectures):
        raise ExportError(
            f"{name} is a checkpoint for another task ({', '.join(architectures)}); "
            "use one whose architecture ends in ForQuestionAnswering"
        )


def _check_sizes(config: dict[str, Any], name: str) -> None:
    """The libraries would say that the weights cannot be loaded, and not which value of which file is to blame."""
    kind = config.get("model_type", "")
    if not isinstance(kind, str):
        raise ExportError(f'{name}: config.json: model_type is {kind!r:.40}; it must be a name such as "bert"')
    for key in SIZES:
        if key in config and (type(config[key]) is not int or config[key] < 1):
            raise ExportError(f"{name}: config.json: {key} is {config[key]!r:.40}; it must be a whole number above 0")
