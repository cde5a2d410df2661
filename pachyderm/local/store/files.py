"""Files of the state: hashed, and written so that they are whole or not there."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class File:
    """Hash and size of a file's content."""

    hash: str
    size: int


class DamagedError(ValueError):
    """A file of the state is not what the runner writes; the message names it."""


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises DamagedError for anything else, FileNotFoundError where there is nothing."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise DamagedError(f"{path}: damaged") from error


def write_json(path: Path, content: Any) -> None:
    """Writes a file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    # A reason may hold a name that is not UTF-8, which then stands there as JSON's own escape.
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(content, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def digest(path: Path) -> File:
    """Hash and size of a file. Raises OSError."""
    with path.open("rb") as file:
        hashed = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        return File(hashed.hexdigest(), file.tell())
