"""Which files' rows go because the files are gone, and deleting them. Absence is proven before anything is deleted."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from runtime.errors import AnswermillError, InputError, OptionError
from stages.common.files import open_regular
from stages.common.names import Origin, enumeration, utf8
from stages.loading import memory
from stages.loading.digests import key
from stages.loading.memory import Entry
from stages.loading.schema import Target
from stages.loading.waiting import WatchedConnection

# Files a transaction: each takes a lock, and a server has room for some thousands.
_FILES_AT_A_TIME = 200
# A margin that --clock-margin takes is shorter.
_LONGEST_MARGIN = timedelta(days=24)
# Names that a line of the log shows.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Listing:
    """What `ingest` saw in the bucket, and when its look began."""

    listed_at: datetime
    paths: Mapping[str, Origin]
    rejected: frozenset[str]


@dataclass(slots=True)
class Verdict:
    """What prune does about each file or part.

    Attributes:
        gone: their rows are to be deleted.
        spared: loaded after the listing was made, so the next prune decides.
        lost: listed, and not loaded, or not in the table as it was loaded: something upstream has lost them.

    """

    gone: list[Entry] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def read_listing(path: Path) -> Listing:
    """Reads ingest's `listing.json`. Raises OptionError for anything else."""
    remedy = "name the listing.json below ingest's OUTPUT"
    try:
        with open_regular(path) as stream:
            data = json.load(stream)
        paths = {name: Origin(utf8(part["file"]), _row(part["first_row"])) for name, part in data["files"].items()}
        at = _with_zone(datetime.fromisoformat(data["listed_at"]))
        complete = data["complete"] is True and data["version"] == 1
        rejected = frozenset(map(str, data["rejected"].values()))
    except OSError as error:
        raise AnswermillError(f"--listing {path}: {error.strerror}; {remedy}") from error
    except InputError as error:
        raise OptionError(f"--listing {path}: {error.reason}; {remedy}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise OptionError(f"--listing {path}: it is not a listing that ingest wrote; {remedy}") from error
    if not complete:
        raise AnswermillError(
            f"--listing {path}: it is incomplete, so it does not prove that files are gone; run ingest again"
        )
    return Listing(at, paths, rejected)


def _row(value: object) -> int:
    """The number of a row, as the table can hold it. Raises ValueError for anything else."""
    if type(value) is not int or not 1 <= value < 1 << 63:
        raise ValueError("not the number of a row")
    return value


def _with_zone(at: datetime) -> datetime:
    """The time in UTC. Raises OverflowError within some weeks of either end of the calendar, where none is meant."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) - _LONGEST_MARGIN + _LONGEST_MARGIN


def all_entries(connection: WatchedConnection, target: Target) -> list[Entry]:
    """What the memory holds."""
    with connection.bounded_transaction():
        return memory.entries(connection, target)


def judge(entries: Iterable[Entry], here: Mapping[str, Origin], looked_at: datetime) -> Verdict:
    """What is gone from a folder that was walked after `looked_at` of the database's clock."""
    verdict = Verdict()
    present = set(here.values())
    for entry in entries:
        if entry.origin in present:
            continue
        if entry.loaded_at is not None and entry.loaded_at < looked_at:
            verdict.gone.append(entry)
        else:
            verdict.spared.append(_name(entry.origin))
    return verdict


def absent(entries: Iterable[Entry], here: Mapping[str, Origin]) -> list[str]:
    """The paths whose rows are not in the table."""
    there = {entry.origin for entry in entries}
    return sorted(path for path, origin in here.items() if origin not in there)


def judge_by_listing(
    entries: Iterable[Entry],
    loaded: Mapping[str, Origin],
    noted: set[str],
    listing: Listing,
    margin: float,
    digests: Mapping[str, str] | None = None,
) -> Verdict:
    """What is in neither the listing nor among what was loaded, and older than the listing by `margin` seconds.

    `noted` are paths of CSVs that load has refused and named; their rows stay as they are. `digests` are of what was
    loaded, as `read_digests` gives them.
    """
    digests = digests or {}
    verdict = Verdict()
    there = {entry.origin: entry for entry in entries}
    before = listing.listed_at - timedelta(seconds=margin)
    # A newer tick may have cut such a file into other parts; whether one is lost is for its own prune to say.
    newer = {entry.origin.file for entry in there.values() if entry.loaded_at is None or entry.loaded_at >= before}
    # Files whose rows in the table are not all those that were listed: a part of them that is not listed may hold some.
    unsettled = set()
    for path, origin in listing.paths.items():
        if path not in noted and path in loaded and _is_held(there.get(origin), path, digests):
            continue
        unsettled.add(origin.file)
        if path not in noted and (path not in loaded or origin.file not in newer):
            verdict.lost.append(path)
    lost = {listing.paths[path].file for path in verdict.lost}
    present = {*listing.paths.values(), *loaded.values()}
    for origin, entry in there.items():
        if origin in present or origin.file in lost:
            continue
        if origin.file not in unsettled and entry.loaded_at is not None and entry.loaded_at < before:
            verdict.gone.append(entry)
        else:
            verdict.spared.append(_name(origin))
    return verdict


def _is_held(entry: Entry | None, path: str, digests: Mapping[str, str]) -> bool:
    """Whether the table holds the version that was passed on; where its digest is not known, whether it holds one."""
    return entry is not None and digests.get(key(path), entry.sha256) == entry.sha256


def check_share(verdict: Verdict, entries: list[Entry], everything: bool) -> None:
    """Raises AnswermillError if all, or more than half, of the files would go and nobody has said so."""
    files = {entry.origin.file for entry in entries}
    left = files - {entry.origin.file for entry in verdict.gone}
    gone = len(files) - len(left)
    if gone and not everything and (not left or gone > len(left)):
        raise AnswermillError(
            f"the rows of {gone} of {len(files)} files would be deleted ({names_of(verdict.gone)}); if that is meant, "
            "say --prune-all, else check INPUT and the bucket's prefix"
        )


def names_of(entries: Iterable[Entry]) -> str:
    """The first names of what is to go."""
    return enumeration(sorted({_name(entry.origin) for entry in entries}), SHOWN)


def delete(connection: WatchedConnection, target: Target, gone: list[Entry], dry_run: bool) -> int:
    """Deletes the rows of these entries, a few hundred files a transaction. Returns how many rows.

    An entry that was loaded again since it was judged keeps its rows.
    """
    rows = 0
    for first in range(0, len(gone), _FILES_AT_A_TIME):
        some = gone[first : first + _FILES_AT_A_TIME]
        with connection.bounded_transaction(rollback=dry_run):
            memory.take_turns(connection, {entry.origin.file for entry in some})
            now = {entry.origin: entry for entry in memory.entries(connection, target, {e.origin.file for e in some})}
            still = [entry for entry in some if now.get(entry.origin) == entry]
            memory.forget(connection, target, [entry.origin for entry in still])
            for entry in still:
                rows += _delete_rows(connection, target, entry, alone=_is_alone(entry, now.values()))
    return rows


def _is_alone(entry: Entry, there: Iterable[Entry]) -> bool:
    return not any(other.origin.file == entry.origin.file and other.origin != entry.origin for other in there)


def _delete_rows(connection: psycopg.Connection, target: Target, entry: Entry, *, alone: bool) -> int:
    """Deletes an entry's rows; where it is all that is left of its file, all rows of the file."""
    query = sql.SQL("delete from {} where file operator(pg_catalog.=) {}::pg_catalog.text").format(
        target.identifier, sql.Literal(entry.origin.file)
    )
    if not alone:
        query += sql.SQL(
            " and row operator(pg_catalog.>=) {}::pg_catalog.int8 and row operator(pg_catalog.<) {}::pg_catalog.int8"
        ).format(sql.Literal(entry.origin.first_row), sql.Literal(entry.end))
    return connection.execute(query).rowcount


def _name(origin: Origin) -> str:
    return origin.file if origin.first_row == 1 else f"{origin.file} from row {origin.first_row}"
