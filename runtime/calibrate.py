"""`answermill calibrate BUNDLE LABELLED.csv --output BUNDLE2`: a confidence from rows of the user's own, in seconds.

The bundle answers the rows, and a curve over its scores is fitted on which answers are right. Where the bundle has a
curve already, that one is stretched and shifted. Nothing else changes; the input bundle stays as it is.

Rows with the same question and context count once, and each of their right answers counts: a hundred copies of a row
say no more than the row.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.errors import AnswermillError, OptionError
from runtime.labelled import read_labelled
from runtime.locks import lock_at
from runtime.logs import summarise

if TYPE_CHECKING:
    from runtime.manifest import FileDigest

DIAGRAM, CARD, MANIFEST = "reliability.svg", "README.md", "manifest.json"


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = command.parser("calibrate", "Fits a bundle's confidence on labelled rows.")
    parser.add_argument(
        "bundle", type=command.location, metavar="BUNDLE", help="the bundle to start from; it is not changed"
    )
    parser.add_argument("labelled", type=command.location, metavar="LABELLED.csv", help="rows with their right answers")
    parser.add_argument(
        "--output", type=command.location, required=True, metavar="BUNDLE2", help="folder of the new bundle"
    )
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--expected-column", default="expected", help="column with the right answers")
    parser.add_argument(
        "--no-answer",
        action="store_true",
        help='let "no answer" win, in BUNDLE2 too; a blank field of the expected column then means that it is right',
    )
    parser.add_argument(
        "--threads", type=command.positive, help="number of threads; default: the CPUs that this process may use"
    )
    return parser.parse_args(argv)


def calibrate(options: argparse.Namespace) -> int:
    """Writes the calibrated bundle. Returns the exit code."""
    import numpy as np

    from runtime import Answerer, confidence
    from runtime.squad import exact_match

    if options.output.exists():
        raise OptionError(f"--output {options.output} exists; choose a new folder, or remove it")
    rows = labelled_rows(options)
    answerer = Answerer.load(options.bundle, options.threads)
    manifest = answerer.bundle.manifest
    no_answer = options.no_answer or manifest.decoding.handle_impossible_answer
    decoding = dataclasses.replace(manifest.decoding, handle_impossible_answer=no_answer)
    judged = [
        (confidence.features(best, ranking.ratio), max(exact_match(best.text or "", each) for each in expected))
        for ranking, expected in zip(answerer.rankings(rows, decoding), rows.values(), strict=True)
        if not (best := ranking.answers[0]).error
    ]
    if len(judged) < confidence.MIN_ROWS:
        raise AnswermillError(
            f"{options.labelled}: {len(judged)} labelled rows are too few to fit a confidence; give at least "
            f"{confidence.MIN_ROWS} different ones that can be answered"
        )
    inputs = np.asarray([features for features, _ in judged]).reshape(-1, 4)
    right = np.asarray([is_right for _, is_right in judged], dtype=np.float64)
    known = np.asarray(manifest.confidence.coefficients) if manifest.confidence else None
    curve = confidence.curve(inputs, right, options.labelled.name, known)
    with _draft(options.output) as folder:
        for name in manifest.files:
            shutil.copy(options.bundle / name, folder / name)
        (folder / DIAGRAM).write_text(confidence.diagram(inputs, right, known), "utf-8")
        _write_card(folder / CARD, confidence.section(curve, inputs, right, known))
        files = dict(manifest.files)
        for name in (CARD, DIAGRAM):
            files[name] = _digest(folder / name)
        changed = dataclasses.replace(manifest, confidence=curve, decoding=decoding, files=dict(sorted(files.items())))
        (folder / MANIFEST).write_text(changed.to_json(), "utf-8")
        folder.rename(options.output)
    logging.info("wrote %s: %s", options.output, changed.bundle_id)
    summarise("done", {"rows": len(right), "calibration_error": curve.calibration_error})
    return command.DONE


@contextlib.contextmanager
def _draft(output: Path) -> Iterator[Path]:
    """An empty hidden folder for a bundle, to be renamed to `output`; it goes if that fails.

    Raises AnswermillError while another run has it: two that write one bundle would give neither's.
    """
    folder = output.with_name(f".{output.name}.calibrating")
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        if not lock_at(folder, lock):
            raise AnswermillError(f"{output}: another run is writing it; wait for it, or choose another folder")
        try:
            for leftover in folder.iterdir():
                leftover.unlink()
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def labelled_rows(options: argparse.Namespace) -> dict[tuple[str, str], set[str]]:
    """The right answers to each (question, context); no row without one, unless "no answer" may be right.

    Raises InputError.
    """
    names = (options.question_column, options.context_column, options.expected_column)
    remedies = (f"name it with --{kind}-column" for kind in ("question", "context", "expected"))
    labelled: dict[tuple[str, str], set[str]] = {}
    for row in read_labelled(options.labelled, dict(zip(names, remedies, strict=True))):
        question, context, expected = (row[name] for name in names)
        if question and context and (expected or options.no_answer):
            labelled.setdefault((question, context), set()).add(expected)
    return labelled


def _write_card(path: Path, section: str) -> None:
    """Replaces the card's section on confidence, or appends the section."""
    text = path.read_text("utf-8")
    changed = re.sub(r"## Confidence\n.*?(?=\n## |\Z)", lambda _: f"{section}\n", text, count=1, flags=re.DOTALL)
    path.write_text(changed if "## Confidence" in text else f"{text}\n{section}\n", "utf-8")


def _digest(path: Path) -> "FileDigest":
    from runtime.manifest import FileDigest

    return FileDigest(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command.run("calibrate", calibrate, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
