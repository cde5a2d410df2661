"""`load --prune`: deletes the rows of files that are gone, once their absence is proven."""

import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from runtime import command
from runtime.errors import AnswermillError, DatabaseError, OptionError
from runtime.logs import summarise
from stages.common.inputs import read_input
from stages.common.names import REJECTED, enumeration, subject
from stages.loading import judging, memory, ready
from stages.loading.connection import Session
from stages.loading.deleting import delete_rows, kept_files
from stages.loading.digests import read_digests
from stages.loading.files import origins_of
from stages.loading.listing import BucketListing, read_listing
from stages.loading.memory import Entry
from stages.loading.options import LoadOptions
from stages.loading.ranges import Range
from stages.loading.target import Target
from stages.loading.waiting import WatchedConnection

# Files a transaction: each takes a lock, and a server has room for some thousands.
_FILES_AT_A_TIME = 200
# Before every row: somebody may have put in some with numbers of his own. The sign is none of a literal's in SQL.
_LEAST_ROW = -(2**63 - 1)


def prune(opened: Session, target: Target, options: LoadOptions) -> int:
    """Deletes the rows of files that are gone. Returns the exit code.

    Raises OptionError and AnswermillError where INPUT or the listing proves nothing.
    """
    listing = read_listing(options.listing) if options.listing else None
    resolved = opened.run(
        lambda connection: ready.prepare_target(connection, target, migrate=options.migrate, dry_run=options.dry_run)
    )
    # Before the walk: whatever is loaded after this moment is newer than what the walk sees.
    looked_at = opened.run(memory.clock)
    if listing:
        _check_clock(options.listing, listing, looked_at, options.clock_margin)
    given = read_input(options.input, options.output, options.plain_names)
    if given.top:
        raise OptionError(f"--prune takes the folder of all remaining files; {options.input} is a part of {given.top}")
    files = given.files
    if not files and not listing:
        raise AnswermillError(
            f"{options.input}: it contains no CSV, which does not prove that files are gone; nothing was deleted"
        )
    here = origins_of(files, options.plain_names)
    entries = opened.run(lambda connection: _all_entries(connection, resolved))
    if listing:
        notes = (options.input / REJECTED).rglob("*.json")
        noted = {subject(path.relative_to(options.input).as_posix()) for path in notes}
        digests = read_digests(options.input)
        verdict = judging.judge_by_listing(entries, here, noted, listing, options.clock_margin, digests)
    else:
        verdict = judging.judge(entries, here, looked_at)
        # Whoever types --prune with the first load means both.
        if absent := judging.absent(entries, here):
            logging.warning(
                "%d of %d files below INPUT are not in the table: %s; --prune loads nothing, load them without it",
                len(absent),
                len(here),
                enumeration(absent, judging.SHOWN),
            )
    judging.check_share(verdict, entries, options.prune_all)
    if verdict.gone:
        logging.info("gone: %s", judging.names_of(verdict.gone))
    if verdict.spared:
        logging.info(
            "newer than the listing, so the next prune decides: %s", enumeration(sorted(verdict.spared), judging.SHOWN)
        )
    deleted = opened.run(lambda connection: delete(connection, resolved, verdict.gone, options.dry_run))
    figures = {"files": len(files), "gone": len(verdict.gone), "spared": len(verdict.spared), "deleted": deleted}
    summarise("pruned", {**figures, "dry_run": options.dry_run})
    if not verdict.lost:
        return command.DONE
    logging.error(
        "%d listed files are not in the table, or not in the version that was passed on, and nothing of them was "
        "deleted: %s; load them again: deploy with --reprocess load (and question-answer, if answers are missing), "
        "with the local runner `answermill run --reprocess load`, else `answermill load`",
        len(verdict.lost),
        enumeration(sorted(verdict.lost), judging.SHOWN),
    )
    return command.FAILED


def _check_clock(path: Path | None, listing: BucketListing, now: datetime, margin: float) -> None:
    """Raises AnswermillError for a listing of the future: rows that are newer than it would pass for older ones."""
    if (listing.listed_at - now).total_seconds() > margin:
        raise AnswermillError(
            f"--listing {path}: it was made at {listing.listed_at.isoformat()}, while the database's clock "
            f"says {now.isoformat()}, so it does not prove that files are gone; correct the clocks and run ingest "
            "again, or say by how much they differ with --clock-margin SECONDS"
        )


def _all_entries(connection: WatchedConnection, target: Target) -> list[Entry]:
    """What the memory holds."""
    with connection.bounded_transaction():
        return memory.entries(connection, target)


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
            ranges = [_range_of(entry, alone=_is_alone(entry, now.values())) for entry in still]
            rows += sum(sum(delete_rows(connection, target, [where]).values()) for where in ranges)
            if kept := kept_files(connection, target, ranges):
                name = target.identifier.as_string(connection)
                raise DatabaseError(
                    f"{enumeration(kept, judging.SHOWN)}: the rows stay in {name}, since a trigger or a rule there "
                    "keeps what is deleted; drop it, psql shows it with \\d, and prune again"
                )
    return rows


def _is_alone(entry: Entry, there: Iterable[Entry]) -> bool:
    return not any(other.origin.file == entry.origin.file and other.origin != entry.origin for other in there)


def _range_of(entry: Entry, *, alone: bool) -> Range:
    """An entry's rows; where it is all that is left of its file, all rows of the file."""
    file, first = entry.origin
    return Range(file, _LEAST_ROW, None) if alone else Range(file, first, entry.end)
