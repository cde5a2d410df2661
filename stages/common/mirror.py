"""What a stage wrote below OUTPUT, so that its next run can remove what is no longer due, and skip what is done.

A path is written down before the file appears under it, so that a run killed between the two leaves no file that nobody
knows. It is also written down which INPUT the files came from: what came from one folder is not gone because it is not
in another.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

from runtime.errors import AnswermillError
from stages.common.files import is_datum, name_errors, whole_file
from stages.common.listings import listings_of, path_line, read_all, read_one, source_line
from stages.common.names import enumeration, origin_of, subject


def keeps_listing() -> bool:
    """Whether OUTPUT outlives this process. A datum's output starts empty, and two datums must not write one path."""
    return not is_datum()


class Mirror:
    """The listing of one stage below one OUTPUT. `open_mirror` makes it, and holds the lock.

    Attributes:
        is_new: whether OUTPUT had no such listing.

    """

    def __init__(self, output: Path, stage: str, share: str = "") -> None:
        self._output = output
        self._listing = output / f".{stage}{share}.listing"
        self._others = [path for path in listings_of(output, stage) if path != self._listing]
        self.is_new = not os.path.lexists(self._listing)
        # A file may have been another share's in an earlier run. What is noted as whole beats what was only intended.
        self._entries, self._sources = read_all(output, stage)
        read_one(self._listing, mend=True)
        self._merges = not share
        self._log = self._listing.open("ab")

    @staticmethod
    def read(output: Path, stage: str) -> dict[str, str | None]:
        """What the files below `output` were made from, by their paths, for whoever only wants to know."""
        return read_all(output, stage)[0]

    def check_own(self, paths: Iterable[str], is_own: Callable[[Path], bool]) -> None:
        """Raises AnswermillError if at one of these paths in OUTPUT is a file that no run of this stage has noted.

        What is `is_own` passes: the files of a folder that was copied without its listing, and those of another share
        that has begun meanwhile.
        """
        there = [path for path in paths if path not in self._entries and os.path.lexists(self._output / path)]
        foreign = [path for path in there if not is_own(self._output / path)]
        if foreign:
            if self.is_new and not self._others:
                # Or the next run would take it for a folder of its own.
                self._log.close()
                self._listing.unlink()
            raise foreign_files(self._output, foreign)

    def take_from(self, source: str, due: Collection[str]) -> None:
        """Writes down that `source` is INPUT from now on, and that the files whose paths are `due` come from it.

        Raises AnswermillError if files of another INPUT would go, which `source` cannot prove to be gone, and if two of
        `due` would be one file there.
        """
        self._check_distinct(due)
        source = _absolute(source)
        former = sorted(other for other in self._sources if not _is_same_source(other, source))
        if former and len(former) == len(self._sources):
            self._check_others(former[0], source, due)
            logging.warning("%s: made from %s until now, from now on it mirrors %s", self._output, former[0], source)
        self._sources = [source]
        self._write(source_line(source))
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

    def _check_distinct(self, due: Iterable[str]) -> None:
        names: dict[str, str] = {}
        for path in sorted(due):
            if (other := names.setdefault(self._name_of(path), path)) != path:
                raise AnswermillError(
                    f"{self._output}: {other} and {path} would be one file there; choose an OUTPUT on a file system "
                    "that tells capital letters apart, or rename one"
                )

    def _name_of(self, path: str) -> str:
        """What the file system takes the path for: that of macOS and Windows knows neither case nor Unicode forms."""
        return normalize("NFC", path).casefold() if self._ignores_case else path

    @cached_property
    def _ignores_case(self) -> bool:
        return os.path.lexists(self._listing.with_name(self._listing.name.upper()))

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
        kept, names = set(keep), {self._name_of(path) for path in keep}
        gone = sorted((path for path in self._entries if path not in kept), reverse=True)
        for path in gone:
            # `a.csv` that has become `A.csv` may be the same file.
            if self._name_of(path) not in names:
                self._remove(self._output / path)
            del self._entries[path]
        with name_errors(self._listing):
            self._log.close()
        with whole_file(self._listing) as file:
            file.writelines(map(source_line, self._sources))
            file.writelines(path_line(path, made_from) for path, made_from in sorted(self._entries.items()))
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
        self._write(path_line(path, made_from))

    def _write(self, line: bytes) -> None:
        with name_errors(self._listing):
            self._log.write(line)

    def _flush(self) -> None:
        with name_errors(self._listing):
            self._log.flush()

    def _remove(self, path: Path) -> None:
        # A folder that has become a link since would lead out of OUTPUT.
        if not Path(os.path.realpath(path.parent)).is_relative_to(self._output.resolve()):
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        for folder in path.parents:
            if folder == self._output:
                break
            try:
                folder.rmdir()
            except OSError:
                # Something is in it, by now if not before: another share may write there.
                break


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


def foreign_files(output: Path, paths: Sequence[str]) -> AnswermillError:
    """The error of files in OUTPUT that are somebody else's, and would be replaced."""
    return AnswermillError(
        f"{output}: {enumeration(sorted(paths), 5)} would be replaced, and this command did not write it; choose "
        "another OUTPUT, or remove it there"
    )


def _absolute(source: str) -> str:
    """A path from the root, with its links: one may lead to the folder of the day. A URL as it is."""
    return source if "://" in source else os.path.abspath(source)  # noqa: PTH100 - pathlib leaves `..` in it


def _is_same_source(one: str, other: str) -> bool:
    return one == other or ("://" not in one + other and os.path.realpath(one) == os.path.realpath(other))
