"""What a stage wrote below OUTPUT, so that its next run can remove what is no longer due, and skip what is done.

The listing is a hidden file of JSON lines below OUTPUT. A path is written down before the file appears under it, so
that a run killed between the two leaves no file that nobody knows; a torn or damaged line is passed over. It also says
which INPUT they came from: what came from one folder is not gone because it is not in another.
"""

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from runtime.errors import AnswermillError, InputError
from stages.common.files import is_datum, named_errors, open_regular, whole_file
from stages.common.names import enumeration, origin_of, subject

STAGES = ("ingest", "answer", "load")


def keeps_listing() -> bool:
    """Whether OUTPUT outlives this process. A datum's output starts empty, and two datums must not write one path."""
    return not is_datum()


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


class Mirror:
    """The listing of one stage below one OUTPUT. `open_mirror` makes it, and holds the lock."""

    def __init__(self, output: Path, stage: str, share: str = "") -> None:
        self._output = output
        self._listing = output / f".{stage}{share}.listing"
        self._others = [path for path in listings_of(output, stage) if path != self._listing]
        # A file may have been another share's in an earlier run. What is noted as whole beats what was only intended.
        self._entries, self._sources = _read_all(output, stage)
        _read(self._listing, mend=True)
        self._merges = not share
        self._log = self._listing.open("ab")

    @staticmethod
    def read(output: Path, stage: str) -> dict[str, str | None]:
        """What the files below `output` were made from, by their paths, for whoever only wants to know."""
        return _read_all(output, stage)[0]

    def take_from(self, source: str, due: Collection[str]) -> None:
        """Writes down that `source` is INPUT from now on, and that the files whose paths are `due` come from it.

        Raises AnswermillError if files of another INPUT would go, which `source` cannot prove to be gone.
        """
        former = sorted(other for other in self._sources if not _is_same_place(other, source))
        if former and len(former) == len(self._sources):
            self._check_others(former[0], source, due)
            logging.warning("%s: made from %s until now, from now on it mirrors %s", self._output, former[0], source)
        self._sources = [source]
        self._write(_source_line(source))
        self._flush()

    def _check_others(self, former: str, source: str, due: Collection[str]) -> None:
        here = {origin_of(path).file for path in due}
        lost = [
            path
            for path in self.paths()
            if path == subject(path) and origin_of(path).file not in here and os.path.lexists(self._output / path)
        ]
        if lost:
            raise AnswermillError(
                f"{self._output}: {enumeration(lost, 5)}: made from {former}, not in {source}, which "
                "does not prove that it is gone; nothing was changed: choose another OUTPUT, or delete it there first"
            )

    def paths(self) -> list[str]:
        """Every path below OUTPUT that this or an earlier run wrote, or was about to write."""
        return sorted(self._entries)

    def provenance(self, path: str) -> str | None:
        """What the file at `path` was made from, as `mark_whole` noted it; None if the file may not be whole."""
        return self._entries.get(path)

    def intend(self, paths: Iterable[str]) -> None:
        """Writes down, before any of them appears, paths below OUTPUT that this run is about to write."""
        for path in paths:
            if self._entries.get(path, "") is not None:
                self._note(path, None)
        self._flush()

    def mark_whole(self, path: str, made_from: str) -> None:
        """Writes down that the file at `path` is whole, and a digest of all that it was made from."""
        self._note(path, made_from)
        self._flush()

    def settle(self, keep: Collection[str]) -> list[str]:
        """Removes every file of this or an earlier run whose path is not in `keep`. Returns their paths.

        To be called when nothing failed, or with the paths of what failed in `keep`.
        """
        kept = set(keep)
        gone = sorted((path for path in self._entries if path not in kept), reverse=True)
        for path in gone:
            self._remove(self._output / path)
            del self._entries[path]
        with named_errors(self._listing):
            self._log.close()
        with whole_file(self._listing) as file:
            file.writelines(map(_source_line, self._sources))
            file.writelines(_line(path, made_from) for path, made_from in sorted(self._entries.items()))
        for listing in self._others if self._merges else ():
            listing.unlink(missing_ok=True)
        return gone

    def close(self) -> None:
        """Closes the listing as it stands."""
        # What could not be written is told by then, and what is still in the buffer is tried once more here.
        with contextlib.suppress(OSError):
            self._log.close()

    def _note(self, path: str, made_from: str | None) -> None:
        self._entries[path] = made_from
        self._write(_line(path, made_from))

    def _write(self, line: bytes) -> None:
        with named_errors(self._listing):
            self._log.write(line)

    def _flush(self) -> None:
        with named_errors(self._listing):
            self._log.flush()

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


@contextlib.contextmanager
def open_mirror(output: Path, stage: str, share: str = "") -> Iterator[Mirror]:
    """The listing of `stage` below `output`, which is made. Raises AnswermillError while another run writes there.

    Runs with different `share`, such as `-2-of-8`, may write there at the same time, each with a listing of its own;
    each removes what is no longer due, whoever wrote it. A run without one takes over their listings.
    """
    output.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        _lock(locks, output, output, os.O_RDONLY, fcntl.LOCK_SH if share else fcntl.LOCK_EX)
        if share:
            _lock(locks, output, output / f".{stage}{share}.lock", os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
        mirror = Mirror(output, stage, share)
        try:
            yield mirror
        finally:
            mirror.close()


def _lock(locks: contextlib.ExitStack, output: Path, path: Path, flags: int, kind: int) -> None:
    """Locks the file or folder until `locks` end."""
    lock = os.open(path, flags, 0o666)
    locks.callback(os.close, lock)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AnswermillError(f"{output}: another run is writing it; wait for it, or choose another folder") from error


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


def _line(path: str, made_from: str | None) -> bytes:
    # ASCII: a name that is not UTF-8 holds lone surrogates.
    return json.dumps([path, made_from]).encode() + b"\n"


def _source_line(source: str) -> bytes:
    return json.dumps({"input": source}).encode() + b"\n"


def _is_same_place(one: str, other: str) -> bool:
    return one == other or ("://" not in one + other and os.path.realpath(one) == os.path.realpath(other))


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


def _read_all(output: Path, stage: str) -> tuple[dict[str, str | None], list[str]]:
    """What all listings of a stage say: of each path what it was made from, and the INPUT of each listing."""
    entries: dict[str, str | None] = {}
    sources = []
    for listing in listings_of(output, stage):
        listed, source = _read(listing, mend=False)
        for path, made_from in listed.items():
            entries[path] = made_from or entries.get(path)
        sources += [source] if source else []
    return entries, sources


def _read(listing: Path, *, mend: bool) -> tuple[dict[str, str | None], str | None]:
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
            file.writelines(map(_source_line, [source] if source else []))
            file.writelines(_line(path, made_from) for path, made_from in entries.items())
    return entries, source
