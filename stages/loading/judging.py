"""Which files' rows may go because the files are gone. Absence is proven, or nothing goes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runtime.errors import AnswermillError
from stages.common.names import Origin, enumeration
from stages.loading.digests import key
from stages.loading.listing import BucketListing
from stages.loading.memory import Entry

# Names that a line of the log shows.
SHOWN = 20


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
    listing: BucketListing,
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


def _name(origin: Origin) -> str:
    return origin.file if origin.first_row == 1 else f"{origin.file} from row {origin.first_row}"
