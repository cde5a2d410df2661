"""Writes what a run of ingest admits or rejects: its files, its counts, and `listing.json` for later stages."""

import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from runtime.errors import InputError
from stages.common.files import begins_with, whole_file
from stages.common.listings import LISTING_BEGINNING, ingested_paths
from stages.common.mirror import Mirror
from stages.common.names import LISTING, REJECTED, Origin, enumeration, origin_of, part_path, rejection_path, subject
from stages.common.rejections import note_of
from stages.ingesting.admission import Admission
from stages.ingesting.source import SourceObject

# Parts that are moved at a time, and of how many the disk is told at once.
BATCH, SYNCS = 200, 16


@dataclass(slots=True)
class IngestCounts:
    """What a run has done so far."""

    failed: list[str] = field(default_factory=list)
    files: int = 0
    parts: int = 0
    rows: int = 0
    rejected: int = 0
    unchanged: int = 0
    gone: int = 0

    def figures(self) -> dict[str, object]:
        """The counts as the last line of the log has them."""
        names = ("files", "parts", "rows", "rejected", "unchanged", "gone")
        return {name: getattr(self, name) for name in names}


class IngestOutput:
    """OUTPUT: moves complete files to their paths, and records what they were made from.

    Attributes:
        counts: what the run has done so far.

    """

    def __init__(self, output: Path, mirror: Mirror | None, rules: str, listed_at: datetime) -> None:
        self.counts = IngestCounts()
        self._output = output
        self._mirror = mirror
        self._rules = rules
        self._listed_at = listed_at
        self._pending: list[tuple[str, SourceObject | None, Admission]] = []
        self._files: dict[str, dict[str, object]] = {}
        self._rejected: dict[str, str] = {}
        self._objects: dict[str, dict[str, object]] = {}
        self._earlier: dict[str, list[str]] = defaultdict(list)
        for path in mirror.paths() if mirror else ():
            self._earlier[_object_of(path)].append(path)

    def take_from(self, source: str, names: Collection[str]) -> None:
        """Writes down which INPUT has these objects. Raises AnswermillError if those of another one would go."""
        if self._mirror:
            paths = [part_path(_key(name), 1) for name in names]
            # Without a listing of this stage's own, this may be the first run, and `listing.json` anybody's.
            records = [LISTING] if self._mirror.is_new else []
            self._mirror.check_own([*records, *paths], self._is_own)
            if self._mirror.is_new:
                self._warn_of_unknown({_key(name) for name in names})
            self._mirror.take_from(source, paths)

    def _warn_of_unknown(self, objects: Collection[str]) -> None:
        """Says what stays of a folder that was copied without its hidden listing, and is not in INPUT any more."""
        others = [path for path in self._paths_in_listing if _object_of(path) not in objects]
        if left := sorted(path for path in others if os.path.lexists(self._output / path)):
            logging.warning(
                "%s: %s: not in INPUT, and nothing says that they came from there, so they stay; if they are gone, "
                "remove them",
                self._output,
                enumeration(left, 5),
            )

    def _is_own(self, path: Path) -> bool:
        if path == self._output / LISTING:
            return begins_with(path, LISTING_BEGINNING)
        return path.relative_to(self._output).as_posix() in self._paths_in_listing

    @cached_property
    def _paths_in_listing(self) -> set[str]:
        return ingested_paths(self._output)

    def keep_unchanged(self, name: str, item: SourceObject) -> bool:
        """Whether the last run has written the object in this very state, under these rules; if so, it stays."""
        paths = self._paths_of(name)
        states = [self._mirror.provenance(path) if self._mirror else None for path in paths]
        digest = self._provenance(name, item)
        if not digest or not states or not all(state and state.split()[0] == digest for state in states):
            return False
        sizes = [int(state.split()[2]) for state in states if state]
        if any(not _has_size(self._output / path, size) for path, size in zip(paths, sizes, strict=True)):
            return False
        for path, state in zip(paths, states, strict=True):
            if path.startswith(f"{REJECTED}/"):
                self._rejected[path] = name
                self.counts.rejected += 1
            else:
                self._note_part(path, name, int(state.split()[1]) if state else 0)
        self.counts.files += not paths[0].startswith(f"{REJECTED}/")
        self.counts.unchanged += 1
        self._note_object(name, item)
        return True

    def admit(self, name: str, item: SourceObject | None, admission: Admission) -> None:
        """Puts the parts of a table on the way to their paths."""
        self._pending.append((name, item, admission))
        if sum(len(admission.parts) for _, _, admission in self._pending) >= BATCH:
            self._settle_pending()

    def _settle_pending(self) -> None:
        """Moves parts to their paths once they are on disk.

        Some hundred at a time, since a disk that is told to write one file after the other does little else: 4,000
        files of one row take 0.42 of the time that they took one by one.
        """
        moves = [
            (name, item, part_path(name, part.first_row), part)
            for name, item, admission in self._pending
            for part in admission.parts
        ]
        if self._mirror:
            self._mirror.intend(path for _, _, path, _ in moves)
        with ThreadPoolExecutor(SYNCS) as pool:
            list(pool.map(_sync, [part.path for _, _, _, part in moves]))
        for name, item, path, part in moves:
            (self._output / path).parent.mkdir(parents=True, exist_ok=True)
            size = part.path.stat().st_size
            part.path.replace(self._output / path)
            self._mark_whole(path, name, item, part.rows, size)
            self._note_part(path, name, part.rows)
        for name, item, _ in self._pending:
            self.counts.files += 1
            self._note_object(name, item)
        self._pending.clear()

    def reject(self, name: str, item: SourceObject | None, error: InputError) -> None:
        """Writes down why a table was refused."""
        path = rejection_path(_key(name))
        # A local name that is not UTF-8 holds lone surrogates.
        note = json.dumps(note_of(Origin(name, 1), error), ensure_ascii=False, indent=2)
        text = note.encode("utf-8", "backslashreplace") + b"\n"
        if self._mirror:
            self._mirror.intend([path])
        with whole_file(self._output / path) as file:
            file.write(text)
        self._mark_whole(path, name, item, 0, len(text))
        self._rejected[path] = name
        self.counts.rejected += 1
        self._note_object(name, item)

    def fail(self, name: str) -> None:
        """Keeps what earlier runs wrote of an object that could not be had."""
        self.counts.failed.append(name)

    def close(self) -> None:
        """Moves what is still on the way, removes what is no longer due, then writes the listing."""
        self._settle_pending()
        is_empty = not (self._files or self._rejected or self.counts.failed)
        left = len(self._mirror.paths()) if self._mirror and is_empty else 0
        if left:
            # A disk that is not mounted leaves an empty folder.
            logging.warning(
                "%s: %d files of earlier runs stay, since an empty listing does not prove that they are gone; if they "
                "are, remove the folder",
                self._output,
                left,
            )
        elif self._mirror:
            kept = [path for name in self.counts.failed for path in self._paths_of(name)]
            gone = self._mirror.settle({*self._files, *self._rejected, *kept})
            if gone:
                logging.info(
                    "removed %d files of objects that are gone or changed: %s", len(gone), enumeration(sorted(gone), 5)
                )
        listing = {
            "version": 1,
            "listed_at": self._listed_at.isoformat(),
            "complete": not self.counts.failed and not left,
            "files": dict(sorted(self._files.items())),
            "rejected": dict(sorted(self._rejected.items())),
            "objects": dict(sorted(self._objects.items())),
        }
        with whole_file(self._output / LISTING) as file:
            for piece in json.JSONEncoder(indent=1).iterencode(listing):
                file.write(piece.encode())
            file.write(b"\n")

    def _paths_of(self, name: str) -> list[str]:
        """What earlier runs wrote of an object."""
        return self._earlier.get(name, []) or self._earlier.get(_key(name), [])

    def _provenance(self, name: str, item: SourceObject | None) -> str | None:
        """A digest of all that an object's files depend on; None if the source cannot tell two states apart."""
        if item is None or not item.version:
            return None
        text = json.dumps([name, item.version, item.checksum, item.size, self._rules])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _mark_whole(self, path: str, name: str, item: SourceObject | None, rows: int, size: int) -> None:
        if self._mirror:
            self._mirror.mark_whole(path, f"{self._provenance(name, item) or '-'} {rows} {size}")

    def _note_part(self, path: str, name: str, rows: int) -> None:
        self._files[path] = {"file": name, "first_row": origin_of(path).first_row, "rows": rows}
        self.counts.parts += 1
        self.counts.rows += rows

    def _note_object(self, name: str, item: SourceObject | None) -> None:
        if item is not None:
            self._objects[name] = {"version": item.version, "checksum": item.checksum, "size": item.size}


def _key(name: str) -> str:
    """The object's name, shortened if no path could hold it; only such objects are rejected for their names."""
    raw = os.fsencode(name)
    return name if len(raw) <= 1024 else f"{name[:64]}~{hashlib.sha256(raw).hexdigest()[:32]}"


def _object_of(path: str) -> str:
    """The object that a path of an earlier run belongs to."""
    return origin_of(subject(path)).file


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
