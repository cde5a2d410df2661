"""The files of a load: whose rows they hold, which share a transaction, whether they are current, passing them on."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from runtime.errors import AnswermillError, DatabaseError, InputError
from stages.common.files import open_regular, partial_name, size_of
from stages.common.inputs import Input
from stages.common.names import Origin, origin_of, subject, utf8
from stages.loading.copying import AnsweredCsv
from stages.loading.digests import DIGESTS, key
from stages.loading.memory import Entry
from stages.loading.small import SMALL_BYTES

# A commit a file costs as much as some hundred rows; small files share one.
GROUP_BYTES, GROUP_FILES = 4 << 20, 200


class ReplacedError(Exception):
    """Other files are in the place of these CSVs since they were opened."""

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
    names = {path: subject(path) for path in paths}
    covered = {name for name in (*names.values(), *given.files) if given.covers(name)}
    # Apart from the names: `b.csv-old.csv` is not the digest of `b.csv`.
    digests = {f"{DIGESTS}/{key(name)}" for name in covered}
    return {path for path, name in names.items() if name not in covered and path.rpartition("-")[0] not in digests}


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


def open_csv(location: Path) -> io.BufferedReader:
    """The file, open to read. Raises InputError if it is no file, not there, or not ours to read."""
    try:
        return open_regular(location)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}", remedy="correct its rights, or remove it") from error


def check_current(csvs: Sequence[AnsweredCsv], files: Mapping[str, Path]) -> None:
    """Raises ReplacedError: while this loader waited, another may have loaded a newer version, which must stay."""
    if replaced := [csv for csv in csvs if not is_current(csv.stream, files[csv.path])]:
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


def is_current(stream: io.BufferedReader, location: Path) -> bool:
    """Whether the open file is still the one that is at its path."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), location.stat())
    except OSError:
        return False


def is_foreign(target: Path) -> bool:
    """Whether something other than a link is where a link is to be put."""
    return os.path.lexists(target) and not target.is_symlink()


def pass_on(source: Path, target: Path) -> None:
    """Puts a link to `source` at `target`; whatever was there is replaced in one step."""
    place = str(source.absolute())
    try:
        target.symlink_to(place)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        pass_on(source, target)
    except FileExistsError:
        if target.is_symlink() and str(target.readlink()) == place:
            return
        link = target.with_name(partial_name(target.name))
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        link.replace(target)
