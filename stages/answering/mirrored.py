"""A run whose outputs outlive it: what is done is skipped, what is gone is removed, old answers are reused."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import InputError
from runtime.os_errors import describe
from stages.answering.earlier import Leftovers, MadeFrom, Settings, file_digest, hidden_path, if_whole, old_answers
from stages.answering.formats import target_name
from stages.answering.reuse import OldAnswers
from stages.answering.stream import File, Stream
from stages.common.files import size_of
from stages.common.mirror import Mirror
from stages.common.names import enumeration

if TYPE_CHECKING:
    from stages.answering.rows import AnswerJob, Counts
    from stages.answering.spread import DaskSpread
    from stages.common.progress import Progress


class MirroredRun:
    """Answers files into a folder with a listing.

    Attributes:
        failures: what was wrong with the files that failed, by name.

    """

    def __init__(
        self, job: "AnswerJob", settings: Settings, mirror: Mirror, output: Path, counts: "Counts", progress: "Progress"
    ) -> None:
        self.failures: dict[str, str] = {}
        self._job, self._settings, self._mirror, self._output = job, settings, mirror, output
        self._counts, self._progress = counts, progress
        self._leftovers = Leftovers()

    def run(
        self, files: Mapping[str, Path], again: bool, library: OldAnswers | None, spread: "DaskSpread | None" = None
    ) -> None:
        """Answers those files that are not answered yet, here or on a cluster."""
        due = self._due(files, again, library)
        if spread:
            spread.run(due, self._job, self._counts, self._progress, self._finish)
        else:
            Stream(self._job, self._counts, self._progress, self._mark_whole, self._record_failure).run(due)

    def _finish(self, file: File, error: InputError | OSError | None, digest: str) -> None:
        if error:
            self._record_failure(file, error)
        else:
            self._mark_whole(file, digest)

    def settle(self, names: set[str]) -> None:
        """Removes what this stage wrote below OUTPUT that is not among `names`."""
        gone = self._mirror.settle(names)
        for name in gone:
            self._leftovers.remove(self._output / name)
        if gone:
            logging.info("removed answers of %d files that are gone: %s", len(gone), enumeration(sorted(gone), 5))

    def _due(self, files: Mapping[str, Path], again: bool, library: OldAnswers | None) -> Iterator[File]:
        for name, path in files.items():
            answers = target_name(name, self._job.format)
            target = self._output / answers
            try:
                made_from = self._whole(answers)
                if not again and made_from and made_from[:2] == (file_digest(path), self._settings.file):
                    self._counts.unchanged += 1
                    self._progress.advance(size_of(path))
                    continue
            except (InputError, OSError) as error:
                self._record_failure(File(name, path, target), error)
                continue
            if self._mirror.provenance(answers) is None:
                # What is noted stays until the new answers are whole: a run that ends before has not lost the old ones,
                # and where they were replaced, their digest is another.
                self._mirror.intend([answers])
            known = library if again else self._old_answers(answers, made_from, library)
            # Ranks are rows of their own, and cannot be reused.
            yield File(
                name,
                path,
                target,
                None if self._job.columns.ranks else known,
                hidden_path(self._output, answers, self._settings, "partial"),
            )

    def _whole(self, name: str) -> MadeFrom | None:
        return if_whole(self._mirror.provenance(name), self._output / name)

    def _old_answers(self, name: str, made_from: MadeFrom | None, library: OldAnswers | None) -> OldAnswers | None:
        """The answers in the file's last output and in what an interrupted run left of it."""
        target = self._output / name
        if made_from is None and not self._leftovers.of(target):
            return library
        kept, partial = (hidden_path(self._output, name, self._settings, kind) for kind in ("kept", "partial"))
        # Both begin alike; the longer one knows more.
        if partial.exists() and (not kept.exists() or partial.stat().st_size > kept.stat().st_size):
            partial.replace(kept)
        self._leftovers.remove(target, but=kept)
        return old_answers(self._job.columns, library, self._settings, [kept], target, made_from)

    def _mark_whole(self, file: File, digest: str) -> None:
        name = target_name(file.name, self._job.format)
        self._leftovers.remove(file.target)
        # Of the bytes that were answered: if the file has changed meanwhile, the next run answers it again.
        with contextlib.suppress(InputError, OSError):  # Somebody may have taken it away as soon as it was there.
            made_from = MadeFrom(digest, self._settings.file, self._settings.answers, file_digest(file.target))
            self._mirror.mark_whole(name, str(made_from))

    def _record_failure(self, file: File, error: InputError | OSError) -> None:
        self._leftovers.remove(file.target)
        self.failures[file.name] = f"{file.name}: {describe(error)}"
        logging.error("%s", self.failures[file.name])
        if isinstance(error, InputError):
            # What an earlier version of the file gave is no answer to this one.
            file.target.unlink(missing_ok=True)
