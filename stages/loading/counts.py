"""What a run of load has done: the figures of the line that ends it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.loading.table import CsvCounts


@dataclass(slots=True)
class LoadCounts:
    """What a run has done so far; rows, except for files."""

    files: int = 0
    unchanged: int = 0
    rejected: int = 0
    rows: int = 0
    inserted: int = 0
    replaced: int = 0
    deleted: int = 0
    size: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, counts: CsvCounts, size: int) -> None:
        """Counts one file of `size` bytes. Of its rows, those are replaced whose place another row had."""
        self.files += 1
        self.rows += counts.rows
        self.size += size
        if counts.unchanged:
            self.unchanged += 1
            return
        replaced = min(counts.rows, counts.before)
        self.replaced += replaced
        self.inserted += counts.rows - replaced
        self.deleted += counts.before - replaced

    def figures(self, dry_run: bool, files: Mapping[str, Path]) -> dict[str, object]:
        """The line that ends a run. Of files, those that failed are not counted; MB/s are those of the CSVs."""
        seconds = time.monotonic() - self.began
        names = ("files", "unchanged", "rows", "inserted", "replaced", "deleted", "rejected")
        return {
            **{name: getattr(self, name) for name in names},
            "seconds": round(seconds, 2),
            "megabytes_per_second": round(self.size / 1e6 / seconds, 1) if seconds else 0.0,
            "dry_run": dry_run,
            # A set's log does not say which datum a line is of.
            **({"file": next(iter(files))} if len(files) == 1 else {}),
        }
