"""What a stage wrote below OUTPUT, so that its next run can remove what is no longer due, and skip what is done.

The listing is a hidden file of JSON lines below OUTPUT. A path is written down before the file appears under it, so
that a run killed between the two leaves no file that nobody knows; a torn or damaged line is passed over.
"""

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from runtime.errors import AnswermillError
from stages.common.files import whole_file


def keeps_listing() -> bool:
    """Whether OUTPUT outlives this process. A datum's output starts empty, and two datums must not write one path."""
    return "PACH_DATUM_ID" not in os.environ


class Mirror:
    """The listing of one stage below one OUTPUT. `open_mirror` makes it, and holds the lock."""

    def __init__(self, output: Path, stage: str) -> None:
        self._output = output
        self._listing = output / f".{stage}.listing"
        self._entries = self._read()
        self._log = self._listing.open("a", encoding="utf-8")

    def paths(self) -> list[str]:
        """Every path below OUTPUT that this or an earlier run wrote, or was about to write."""
        return sorted(self._entries)

    def made_from(self, path: str) -> str | None:
        """What the file at `path` was made from, as `done` was told; None for one that is not known to be whole."""
        return self._entries.get(path)

    def intend(self, paths: Iterable[str]) -> None:
        """Writes down, before any of them appears, paths below OUTPUT that this run is about to write."""
        for path in paths:
            if self._entries.get(path, "") is not None:
                self._note(path, None)
        self._log.flush()

    def done(self, path: str, made_from: str) -> None:
        """Writes down that the file at `path` is whole, and a digest of all that it was made from."""
        self._note(path, made_from)
        self._log.flush()

    def settle(self, keep: Collection[str]) -> list[str]:
        """Removes every file of this or an earlier run whose path is not in `keep`. Returns their paths.

        To be called when nothing failed, or with the paths of what failed in `keep`.
        """
        kept = set(keep)
        gone = sorted((path for path in self._entries if path not in kept), reverse=True)
        for path in gone:
            self._remove(self._output / path)
            del self._entries[path]
        self._log.close()
        with whole_file(self._listing) as file:
            file.writelines(_line(path, made_from) for path, made_from in sorted(self._entries.items()))
        return gone

    def close(self) -> None:
        """Closes the listing as it stands."""
        self._log.close()

    def _note(self, path: str, made_from: str | None) -> None:
        self._entries[path] = made_from
        self._log.write(_line(path, made_from).decode())

    def _remove(self, path: Path) -> None:
        # A folder that has become a link since would lead out of OUTPUT.
        if not Path(os.path.realpath(path.parent)).is_relative_to(self._output.resolve()):
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        for folder in path.parents:
            if folder == self._output or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()

    def _read(self) -> dict[str, str | None]:
        entries: dict[str, str | None] = {}
        damaged = 0
        try:
            lines = self._listing.read_bytes().splitlines()
        except FileNotFoundError:
            return entries
        for line in lines:
            try:
                path, made_from = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                damaged += 1
                continue
            if not _is_below(path) or not isinstance(made_from, str | None):
                damaged += 1
                continue
            entries[path] = made_from
        if damaged:
            logging.warning(
                "%s: %d lines are damaged and passed over; a file that only they named stays", self._listing, damaged
            )
            # What is appended must not continue a torn line.
            with whole_file(self._listing) as file:
                file.writelines(_line(path, made_from) for path, made_from in entries.items())
        return entries


@contextlib.contextmanager
def open_mirror(output: Path, stage: str) -> Iterator[Mirror]:
    """The listing of `stage` below `output`, which is made. Raises AnswermillError while another run writes there."""
    output.mkdir(parents=True, exist_ok=True)
    lock = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AnswermillError(
                f"{output}: another run is writing it; wait for it, or choose another folder"
            ) from error
        mirror = Mirror(output, stage)
        try:
            yield mirror
        finally:
            mirror.close()
    finally:
        os.close(lock)


def _is_below(path: object) -> bool:
    """Whether the path is relative, and stays below the folder that it is relative to."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _line(path: str, made_from: str | None) -> bytes:
    # ASCII: a name that is not UTF-8 holds lone surrogates.
    return json.dumps([path, made_from]).encode() + b"\n"
