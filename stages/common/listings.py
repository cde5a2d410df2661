"""The listings that stages keep below OUTPUT: hidden files of JSON lines.

A line holds a path and what the file there was made from, or the INPUT that all the files came from. A torn or damaged
line is passed over.
"""

import contextlib
import json
import logging
import os
from pathlib import Path, PurePosixPath

from runtime.errors import AnswermillError, InputError
from stages.common.files import open_regular, whole_file
from stages.common.names import LISTING

STAGES = ("ingest", "answer", "load")
# How a `listing.json` of ours begins; anybody's may be called so.
LISTING_BEGINNING = b'{\n "version": 1,\n "listed_at": '


def listings_of(folder: Path, *stages: str) -> list[Path]:
    """The listings that these stages keep in a folder, all of them if none is named."""
    beginnings = tuple(f".{stage}" for stage in stages or STAGES)
    return sorted(path for path in folder.glob(".*.listing") if path.name.startswith(beginnings))


def listed_paths(folder: Path) -> set[str]:
    """Every path that a stage has noted in its folder, for whoever only wants to know; damage is passed over."""
    paths: set[str] = set()
    for listing in listings_of(folder):
        with contextlib.suppress(OSError, InputError), open_regular(listing) as file:
            paths.update(entry[0] for entry in map(_entry, file) if isinstance(entry, tuple))
    return paths


def ingested_paths(folder: Path) -> set[str]:
    """The paths of the CSVs in ingest's `listing.json` below `folder`; none if it cannot be read, or is not ours."""
    try:
        with open_regular(folder / LISTING) as file:
            if file.read(len(LISTING_BEGINNING)) == LISTING_BEGINNING:
                file.seek(0)
                return set(json.load(file)["files"])
    except (OSError, InputError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return set()


def path_line(path: str, made_from: str | None) -> bytes:
    """A path, and what the file there was made from; None for one that is about to be written."""
    # ASCII: a name that is not UTF-8 holds lone surrogates. json takes a fifth of the time for a text that it takes for
    # a list.
    return f"[{json.dumps(path)}, {'null' if made_from is None else json.dumps(made_from)}]\n".encode()


def source_line(source: str) -> bytes:
    """The INPUT that the files came from."""
    return json.dumps({"input": source}).encode() + b"\n"


def _entry(line: bytes) -> tuple[str, str | None] | str | None:
    """The path of a line, and what the file there was made from; or the INPUT that it names; None if it is damaged."""
    try:
        entry = json.loads(line)
        if isinstance(entry, dict):
            return str(entry["input"])
        path, made_from = entry if isinstance(entry, list) else [None, None]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (str(path), made_from) if _is_below(path) and isinstance(made_from, str | None) else None


def read_all(output: Path, stage: str) -> tuple[dict[str, str | None], list[str]]:
    """What all listings of a stage say: of each path what it was made from, and the INPUT of each listing."""
    entries: dict[str, str | None] = {}
    sources = []
    for listing in listings_of(output, stage):
        listed, source = read_one(listing, mend=False)
        for path, made_from in listed.items():
            entries[path] = made_from or entries.get(path)
        sources += [source] if source else []
    return entries, sources


def read_one(listing: Path, *, mend: bool) -> tuple[dict[str, str | None], str | None]:
    """The paths of one listing, and the last INPUT that it names."""
    entries: dict[str, str | None] = {}
    source: str | None = None
    damaged = 0
    try:
        with open_regular(listing) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return entries, source
    except InputError as error:
        raise AnswermillError(f"{listing}: {error.reason}; remove it") from error
    for line in lines:
        entry = _entry(line)
        if isinstance(entry, tuple):
            entries[entry[0]] = entry[1]
        elif entry:
            source = entry
        else:
            damaged += 1
    if damaged:
        logging.warning("%s: ignored %d damaged lines; a file that only they named stays", listing, damaged)
    if damaged and mend:
        # What is appended must not continue a torn line.
        with whole_file(listing) as file:
            file.writelines(map(source_line, [source] if source else []))
            file.writelines(path_line(path, made_from) for path, made_from in entries.items())
    return entries, source


def _is_below(path: object) -> bool:
    """Whether the path is relative, and stays below the folder that it is relative to."""
    if not isinstance(path, str) or not path or "\0" in path or not _is_encodable(path):
        return False
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True
