"""The files of a load: whose rows they hold, which share a transaction, whether they are current, passing them on."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from runtime.errors import AnswermillError, DatabaseError, InputError
from stages.common.files import is_hidden, open_raw, partial_name, size_of
from stages.common.inputs import Input
from stages.common.names import Origin, origin_of, subject, utf8
from stages.loading.copying import AnsweredCsv, state_of
from stages.loading.digests import DIGESTS, digests_in, key
from stages.loading.memory import Entry
from stages.loading.small import SMALL_BYTES

# A commit a file costs as much as some hundred rows; small files share one.
GROUP_BYTES, GROUP_FILES = 4 << 20, 200
# Why a file cannot be opened, if that is its owner's to mend.
_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


class ReplacedError(Exception):
    """These CSVs are not what they were when they were opened: others are in their place, or they were written to."""

    def __init__(self, csvs: Sequence[AnsweredCsv]) -> None:
        self.csvs = csvs
        super().__init__(", ".join(csv.path for csv in csvs))


def origins_of(paths: Iterable[str], plain_names: bool) -> dict[str, Origin]:
    """Where the rows of each path belong. Raises AnswermillError if two paths claim the same rows."""
    origins: dict[str, Origin] = {}
    owners: dict[Origin, str] = {}
    for path in paths:
        origin = Origin(path, 1) if plain_names else origin_of(path)
        origin = origin._replace(file=utf8(origin.file))
        if origin in owners:
            raise AnswermillError(
                f"{owners[origin]} and {path} are both the file {origin.file}; "
                "if ingest did not write INPUT, say --plain-names, else remove one"
            )
        owners[origin] = path
        origins[path] = origin
    return origins


def others(given: Input, paths: Sequence[str]) -> set[str]:
    """What earlier runs wrote below OUTPUT for CSVs of which INPUT says nothing."""
    rest = {path for path in paths if not given.covers(subject(path))}
    if not any(digests_in(rest)):
        return rest
    # Apart from the names: `b.csv-old.csv` is not the digest of `b.csv`.
    digests = {f"{DIGESTS}/{key(name)}" for name in {*map(subject, paths), *given.files} if given.covers(name)}
    return {path for path in rest if path.rpartition("-")[0] not in digests}


def groups(files: Mapping[str, Path]) -> Iterator[list[str]]:
    """The files in order; small ones together, as many as share a transaction."""
    group: list[str] = []
    size = 0
    for path, location in files.items():
        length = size_of(location)
        if group and (size + length > GROUP_BYTES or len(group) >= GROUP_FILES):
            yield group
            group, size = [], 0
        if length > SMALL_BYTES:
            yield [path]
            continue
        group.append(path)
        size += length
    if group:
        yield group


def open_csv(path: str, origin: Origin, location: Path, opened_at: datetime | None) -> AnsweredCsv:
    """The CSV, open to read. Raises InputError if it is no file, not there, or not ours to read; else OSError."""
    try:
        stream = open_raw(location)
    except OSError as error:
        if error.errno not in _OF_THE_FILE:
            # No descriptor is left, or a disk fails: nothing that the file's owner could mend.
            raise
        raise InputError(f"it cannot be read: {error.strerror}", remedy="correct its rights, or remove it") from error
    return AnsweredCsv(path, origin, stream, opened_at, state=state_of(os.fstat(stream.fileno())))


def check_current(csvs: Sequence[AnsweredCsv], files: Mapping[str, Path]) -> None:
    """Raises ReplacedError: while this loader waited, another may have loaded a newer version, which must stay.

    Or somebody wrote into the file while it was read, and what was read is of no version.
    """
    if replaced := [csv for csv in csvs if not is_current(csv, files[csv.path])]:
        raise ReplacedError(replaced)


def check_latest(csvs: Iterable[AnsweredCsv], known: Mapping[str, Iterable[Entry]]) -> None:
    """Raises DatabaseError if other rows were loaded in the place of a datum's since the datum began.

    Its process may have stood still meanwhile, or its node was cut off, so that its job ended without it. Then nothing
    tries the datum again. If this version is the newer one after all, the next try begins later, and loads it. What
    parts have left of another one's entry has no digest, and no version.
    """
    for csv in csvs:
        first, end = csv.origin.first_row, csv.origin.first_row + csv.rows
        for entry in known.get(csv.origin.file, ()):
            is_own = entry.origin == csv.origin
            in_place = is_own or (entry.sha256 and entry.origin.first_row < end and entry.end > first)
            if not in_place or entry.sha256 == csv.sha256 or not (csv.opened_at and entry.loaded_at):
                continue
            if entry.loaded_at > csv.opened_at:
                raise DatabaseError(
                    f"{csv.path}: {entry.path} was loaded at {entry.loaded_at.isoformat()}, after this datum began at "
                    f"{csv.opened_at.isoformat()}, and stays; if this one is the newer, load it again"
                )


def is_current(csv: AnsweredCsv, location: Path) -> bool:
    """Whether the open file is still the one that is at its path, as it was when it was opened."""
    try:
        now = os.fstat(csv.stream.fileno())
        return csv.state == state_of(now) and os.path.samestat(now, location.stat())
    except OSError:
        return False


def foreign_of(output: Path, paths: Iterable[str]) -> list[str]:
    """Those of the paths below OUTPUT at which there is something other than a link."""
    # To look at each path took a tenth of what loading a file of one row does; most folders hold links alone.
    folders: dict[str, bool] = {}
    foreign = []
    for path in paths:
        folder = path.rpartition("/")[0]
        if folder not in folders:
            folders[folder] = _has_more_than_links(output / folder)
        if folders[folder] and os.path.lexists(output / path) and not (output / path).is_symlink():
            foreign.append(path)
    return foreign


def _has_more_than_links(folder: Path) -> bool:
    """Whether a path that is not hidden is something other than a link."""
    try:
        with os.scandir(folder) as entries:
            return any(not (entry.is_symlink() or is_hidden(entry.name)) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def pass_on(source: Path, link: str) -> None:
    """Puts a link to `source` at `link`; whatever was there is replaced in one step."""
    place = str(source.absolute())
    try:
        # As text: a path of pathlib's takes as long to make as the link.
        os.symlink(place, link)  # noqa: PTH211
    except FileNotFoundError:
        Path(link).parent.mkdir(parents=True, exist_ok=True)
        pass_on(source, link)
    except FileExistsError:
        target = Path(link)
        if target.is_symlink() and str(target.readlink()) == place:
            return
        temporary = target.with_name(partial_name(target.name))
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(place)
        temporary.replace(target)
