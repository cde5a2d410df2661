"""Where one job keeps what its datums did: the results, what they wrote, and their logs."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pachyderm.local.store.results import Result, read_line, write_line


class JobFolder:
    """Where one job keeps what its datums did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._datums = folder / "datums.jsonl"

    @property
    def outputs(self) -> Path:
        """Folder of what datums wrote, until it is in a commit."""
        return self.folder / "outputs"

    def output(self, datum_id: str, index: int) -> Path:
        """The content of one file of a datum's output, by its place in their order. A folder each would cost 2 ms."""
        return self.outputs / f"{datum_id}-{index}"

    def log(self, name: str) -> Path:
        """Log of a datum, by its id, or of a worker's long-running process."""
        return self.folder / "logs" / f"{name}.log"

    def logs(self) -> Iterator[Path]:
        """The logs of all datums."""
        yield from sorted((self.folder / "logs").glob("[!.]*.log"))

    def append(self, results: Iterable[Result]) -> None:
        """Adds datums that are decided. One write, so that a line is there or torn, never mixed.

        Not forced to the disk: a killed runner loses nothing, and what a power cut takes is done again. It cost 2 ms.
        """
        lines = "".join(map(write_line, results))
        with self._datums.open("ab", buffering=0) as file:
            file.write(lines.encode("utf-8", "backslashreplace"))

    def results(self) -> dict[str, Result]:
        """The last word on each datum, by its id."""
        try:
            lines = self._datums.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        # What follows the last line break was being written when the runner died.
        return {result.id: result for line in lines[:-1] if line and (result := read_line(line))}

    def mend(self) -> None:
        """Takes up a job that a runner died over: no torn last line, no log of a process, which may hold secrets."""
        for log in (self.folder / "logs").glob(".*.log"):
            log.unlink()
        if self._datums.exists():
            content = self._datums.read_bytes()
            with self._datums.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)

    def settle(self, results: Iterable[Result]) -> None:
        """Leaves only these: a job that was taken up with other inputs may have done datums that it no longer has."""
        partial = self.folder / ".datums.partial"
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(map(write_line, results))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._datums)

    def drop_outputs(self) -> None:
        """Removes what the datums wrote, once it is in a commit."""
        shutil.rmtree(self.outputs, ignore_errors=True)
