"""One run of load: which files share a transaction, what becomes of a file that is refused, and the counts."""

import errno
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg

from runtime.errors import InputError
from runtime.os_errors import describe
from stages.common.files import whole_file
from stages.common.mirror import Mirror, keeps_listing
from stages.common.names import Origin, note_path
from stages.common.rejections import note_of, row_of
from stages.loading.connection import Session
from stages.loading.copying import AnsweredCsv, examine
from stages.loading.counts import LoadCounts
from stages.loading.digests import digest_path, touch
from stages.loading.failures import is_about_rows, is_cancelled
from stages.loading.files import ReplacedError, check_current, groups, open_csv, origins_of, pass_on
from stages.loading.memory import clock
from stages.loading.options import LoadOptions
from stages.loading.ranks import refuse_ranks
from stages.loading.ready import ReadyTarget, make_ready
from stages.loading.small import examine_each
from stages.loading.table import CsvCounts, TableLoader, input_error
from stages.loading.waiting import WatchedConnection

# Rows that are skipped one by one until the whole file is refused.
MOST_SKIPPED = 100
# Times that a file is opened in one run; each time something has replaced it while the run waited for its lock.
MOST_REOPENED = 5
# No descriptor is left, for any file.
_FOR_ALL_FILES = (errno.EMFILE, errno.ENFILE)


class LoadRun:
    """Loads files. `written` are the paths below OUTPUT that a run from nothing would have, as far as it has come."""

    def __init__(self, opened: Session, target: ReadyTarget, mirror: Mirror | None, options: LoadOptions) -> None:
        self.counts = LoadCounts()
        self.written: set[str] = set()
        self._opened = opened
        self._ready = target
        self._mirror = mirror
        self._options = options
        self._origins: Mapping[str, Origin] = {}
        # Of a datum; of a plain run's files, the paths tell whether they are current.
        self._opened_at: datetime | None = None

    def load(self, files: Mapping[str, Path]) -> list[str]:
        """Loads each file. Returns the names of those that failed."""
        self._origins = origins_of(files, self._options.plain_names)
        if self._options.batch_datums or not keeps_listing():
            self._opened_at = self._opened.run(clock)
        self._target = self._ready.get()
        failed: list[str] = []
        for group in groups(files):
            with ExitStack() as stack:
                csvs, refused = self._open(group, files, stack)
                failed += refused + self._load_group(csvs, files)
        return failed

    def _open(
        self, group: Sequence[str], files: Mapping[str, Path], stack: ExitStack
    ) -> tuple[list[AnsweredCsv], list[str]]:
        """Opens and examines CSVs. Returns those that keep the rules, and the names of those that failed."""
        opened: list[AnsweredCsv] = []
        faults: dict[str, InputError | OSError] = {}

        @stack.callback
        def close() -> None:
            for csv in opened:
                csv.close()

        for path in group:
            try:
                csv = open_csv(path, self._origins[path], files[path], self._opened_at)
            except (InputError, OSError) as error:
                if isinstance(error, OSError) and error.errno in _FOR_ALL_FILES:
                    raise
                faults[path] = error
                continue
            opened.append(csv)
        faults |= examine_each(opened, self._target)
        for csv in opened:
            try:
                if csv.path not in faults:
                    refuse_ranks(csv, self._target)
            except (InputError, OSError) as error:
                faults[csv.path] = error
        failed = [name for path, error in faults.items() for name in self._refuse(path, files[path], error)]
        return [csv for csv in opened if csv.path not in faults], failed

    def _reopen(self, csv: AnsweredCsv, location: Path) -> None:
        """Turns to the version of a CSV that is there now. Raises InputError, and leaves it at the old one then.

        The old one stays open, so that whoever tries again finds once more that it has been replaced.
        """
        fresh = open_csv(csv.path, csv.origin, location, self._opened_at)
        try:
            examine(fresh, self._target)
            refuse_ranks(fresh, self._target)
        except BaseException:
            fresh.stream.close()
            raise
        csv.become(fresh)

    def _load_group(self, csvs: Sequence[AnsweredCsv], files: Mapping[str, Path]) -> list[str]:
        """Loads CSVs in one transaction; where one of them is refused, each half in its own. Returns what failed."""
        if not csvs:
            return []
        try:
            for csv, counts in zip(csvs, self._transact(csvs, files), strict=True):
                self._note(csv, counts)
            return []
        except InputError as error:
            if len(csvs) == 1:
                return self._load_without_bad_rows(csvs[0], error, files)
        half = len(csvs) // 2
        return self._load_group(csvs[:half], files) + self._load_group(csvs[half:], files)

    def _load_without_bad_rows(self, csv: AnsweredCsv, error: InputError, files: Mapping[str, Path]) -> list[str]:
        """What `--on-bad-row` says of a file that is refused. Returns its name if it failed."""
        errors = [error]
        while self._options.on_bad_row == "skip" and error.row is not None and len(errors) <= MOST_SKIPPED:
            csv.skipped |= {error.row}
            try:
                (counts,) = self._transact([csv], files)
            except InputError as other:
                error = other
                errors.append(other)
                continue
            self._note(csv, counts)
            self._write_note(csv.path, errors)
            logging.warning("%s: %d rows skipped, the first: %s", csv.path, len(errors), errors[0])
            return []
        return self._refuse(csv.path, files[csv.path], errors[0])

    def _transact(self, csvs: Sequence[AnsweredCsv], files: Mapping[str, Path]) -> list[CsvCounts]:
        """Loads CSVs in one transaction. Raises InputError for one that breaks a rule or that the server refuses."""
        for _ in range(MOST_REOPENED):
            try:
                try:
                    return self._attempt(csvs, files)
                except InputError:
                    # What was wrong may be that somebody wrote into it.
                    check_current(csvs, files)
                    raise
            except ReplacedError as error:
                for csv in error.csvs:
                    self._reopen(csv, files[csv.path])
        raise InputError("something keeps replacing it", remedy="load it again when nothing writes to it")

    def _attempt(self, csvs: Sequence[AnsweredCsv], files: Mapping[str, Path]) -> list[CsvCounts]:
        options = self._options
        locked = partial(check_current, csvs, files)
        copied = partial(self._pass_on, files)
        if self._mirror and not options.dry_run:
            # Not in the transaction: the server may end one in which nothing is sent for a while.
            self._mirror.intend([*(csv.path for csv in csvs), *self._digests(csvs)])

        def attempt(connection: WatchedConnection) -> list[CsvCounts]:
            with connection.bounded_transaction(rollback=options.dry_run):
                target = self._target
                if options.dry_run:
                    target = make_ready(connection, target, options.migrate)
                return TableLoader(connection, target, options.on_conflict == "keep").load(csvs, locked, copied)

        def attempt_or_explain(connection: WatchedConnection) -> list[CsvCounts]:
            # Outside the transaction: a deferred constraint speaks at its end, and finding the row reads the file.
            try:
                return attempt(connection)
            except psycopg.Error as error:
                if connection.closed or not is_about_rows(error) or is_cancelled(error, connection):
                    raise
                if len(csvs) > 1:
                    raise InputError(str(error), remedy="load each file by itself") from error
                encoding = connection.info.parameter_status("server_encoding")
                raise input_error(error, csvs[0], self._target, encoding) from error

        return self._opened.run(attempt_or_explain)

    def _pass_on(self, files: Mapping[str, Path], csv: AnsweredCsv) -> None:
        """Before the stamp and the commit: whoever prunes by what is passed on must not miss a file that is loaded."""
        if self._options.dry_run:
            return
        pass_on(files[csv.path], f"{self._options.output}/{csv.path}")
        for path in self._digests([csv]):
            touch(self._options.output / path)

    def _digests(self, csvs: Sequence[AnsweredCsv]) -> list[str]:
        return [digest_path(csv.path, csv.sha256) for csv in csvs] if self._options.pass_on_digests else []

    def _note(self, csv: AnsweredCsv, counts: CsvCounts) -> None:
        self.counts.add(counts, csv.size)
        self.written.update([csv.path, *self._digests([csv])])

    def _refuse(self, path: str, location: Path, error: InputError | OSError) -> list[str]:
        """Names a file that is not loaded. Returns its name if that counts as a failure."""
        # What an earlier run has passed on stays, as its rows do.
        self.written.add(path)
        if isinstance(error, OSError):
            logging.error("%s", describe(OSError(error.errno, error.strerror, path)))
            return [path]
        logging.error("%s: %s", path, error)
        if self._options.on_bad_row == "fail":
            return [path]
        self.counts.rejected += 1
        self._write_note(path, [error])
        return []

    def _write_note(self, path: str, errors: Sequence[InputError]) -> None:
        if self._options.dry_run:
            return
        note = note_path(path)
        origin = self._origins[path]
        rows = [{"row": row_of(origin, error), "column": error.column, "reason": error.reason} for error in errors]
        text = {**note_of(origin, errors[0]), "rows": rows}
        if self._mirror:
            self._mirror.intend([note])
        with whole_file(self._options.output / note) as file:
            file.write(json.dumps(text, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n")
        self.written.add(note)
