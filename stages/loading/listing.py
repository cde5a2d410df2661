"""Reads the listing that `ingest` wrote: what it saw in the bucket, and when its look began."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runtime.errors import AnswermillError, InputError, OptionError
from stages.common.files import open_regular
from stages.common.names import Origin, utf8

# A margin that --clock-margin takes is shorter.
_LONGEST_MARGIN = timedelta(days=24)


@dataclass(frozen=True, slots=True)
class BucketListing:
    """What `ingest` saw in the bucket, and when its look began."""

    listed_at: datetime
    paths: Mapping[str, Origin]


def read_listing(path: Path) -> BucketListing:
    """Reads ingest's `listing.json`. Raises OptionError for anything else."""
    remedy = "name the listing.json below ingest's OUTPUT"
    try:
        with open_regular(path) as stream:
            data = json.load(stream)
        paths = {name: Origin(utf8(part["file"]), _row(part["first_row"])) for name, part in data["files"].items()}
        at = _with_zone(datetime.fromisoformat(data["listed_at"]))
        # Prune goes by the notes in INPUT, but a listing without these is not one of ours.
        if not isinstance(data["rejected"], dict):
            raise TypeError("not the notes of refused objects")
        complete = data["complete"] is True and data["version"] == 1
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
    return BucketListing(at, paths)


def _row(value: object) -> int:
    """The number of a row, as the table can hold it. Raises ValueError for anything else."""
    if type(value) is not int or not 1 <= value < 1 << 63:
        raise ValueError("not the number of a row")
    return value


def _with_zone(at: datetime) -> datetime:
    """The time in UTC. Raises OverflowError within some weeks of either end of the calendar, where none is meant."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) - _LONGEST_MARGIN + _LONGEST_MARGIN
