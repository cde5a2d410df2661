"""CSVs of questions -> the same CSVs with answers.

Each CSV below INPUT is written again below OUTPUT, under the same relative path, with the same rows in the same order
and the same text, plus the columns answer, score, start, end, error and model.
"""

import argparse
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import InputError
from stages import command
from stages.files import csv_files, whole_file

if TYPE_CHECKING:
    import polars as pl

    from runtime import Answer, Answerer, Decoding

COLUMNS = ("answer", "score", "start", "end", "error", "model")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that are read, and what is put before those that are written."""

    question: str
    context: str
    prefix: str


@dataclass(slots=True)
class Tally:
    """What a run has answered so far."""

    files: int = 0
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("answer", "Answers the questions in every CSV below INPUT.")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a folder of CSVs, or one CSV")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for the answered CSVs")
    parser.add_argument("--model", type=Path, default=Path("build/model"), help="bundle to use")
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="put before the names of the new columns")
    parser.add_argument("--max-answer-len", type=int, help="longest answer, in tokens")
    parser.add_argument("--max-seq-len", type=int, help="longest window, in tokens")
    parser.add_argument("--doc-stride", type=int, help="overlap of windows, in tokens")
    parser.add_argument("--no-answer", action="store_true", help='let "no answer" win (SQuAD 2 checkpoints)')
    return parser.parse_args(argv)


def answer(options: argparse.Namespace) -> int:
    """Answers all files; a file that breaks a rule fails alone. Returns the exit code."""
    from runtime import Answerer

    files = csv_files(options.input)
    answerer = Answerer.load(options.model, options.threads)
    decoding = decoding_of(options, answerer.bundle.manifest.decoding)
    columns = Columns(options.question_column, options.context_column, options.prefix)
    tally, failed, began = Tally(), [], time.monotonic()
    for name, path in files.items():
        try:
            answer_file(path, options.output / name, answerer, decoding, columns, tally)
        except InputError as error:
            logging.error("%s: %s", name, error)
            failed.append(name)
    seconds = time.monotonic() - began
    figures = {
        "files": tally.files,
        "rows": tally.rows,
        "answered": tally.rows - tally.errors.total(),
        "errors": dict(tally.errors),
        "seconds": round(seconds, 2),
        "rows_per_second": round(tally.rows / seconds, 1) if seconds else 0.0,
        "model": answerer.bundle.manifest.bundle_id,
    }
    command.summarise("done", figures)
    return command.exit_code(failed, len(files))


def decoding_of(options: argparse.Namespace, defaults: "Decoding") -> "Decoding":
    """The bundle's defaults, changed by the options that were given."""
    from runtime.decoding import Decoding, default_doc_stride

    length = options.max_seq_len or defaults.max_seq_len
    overlap = defaults.doc_stride if options.max_seq_len is None else default_doc_stride(length)
    return Decoding(
        max_seq_len=length,
        doc_stride=overlap if options.doc_stride is None else options.doc_stride,
        max_answer_len=options.max_answer_len or defaults.max_answer_len,
        handle_impossible_answer=options.no_answer or defaults.handle_impossible_answer,
        align_to_words=defaults.align_to_words,
    )


def answer_file(
    source: Path,
    target: Path,
    answerer: "Answerer",
    decoding: "Decoding",
    columns: Columns,
    tally: Tally,
) -> None:
    """Answers one CSV, whatever its size in the memory of a few blocks; `target` appears when it is whole."""
    from stages.tables import read_blocks, write_block

    model = answerer.bundle.manifest.bundle_id
    blocks = read_blocks(source, (columns.question, columns.context))
    with whole_file(target) as file:
        for block, answers in answered_blocks(blocks, answerer, decoding, columns):
            write_block(file, with_answers(block, answers, columns.prefix, model))
            tally.rows += block.height
            tally.errors.update(answer.error for answer in answers if answer.error)
    tally.files += 1


def answered_blocks(
    blocks: Iterator["pl.DataFrame"], answerer: "Answerer", decoding: "Decoding", columns: Columns
) -> Iterator[tuple["pl.DataFrame", list["Answer"]]]:
    """Blocks with the answers to their rows. The answerer sees one stream, so no thread idles between two blocks."""
    waiting: deque[pl.DataFrame] = deque()

    def pairs() -> Iterator[tuple[str | None, str | None]]:
        for block in blocks:
            check_clash(block.columns, columns.prefix)
            waiting.append(block)
            yield from zip(block[columns.question], block[columns.context], strict=True)

    answers: list[Answer] = []
    for one in answerer.answer(pairs(), decoding):
        answers.append(one)
        if len(answers) == waiting[0].height:
            yield waiting.popleft(), answers
            answers = []
    yield from ((block, []) for block in waiting)


def with_answers(block: "pl.DataFrame", answers: Sequence["Answer"], prefix: str, model: str) -> "pl.DataFrame":
    """The block with the new columns behind its own."""
    import polars as pl

    values = (
        ("answer", [answer.text for answer in answers], pl.String),
        ("score", [answer.score for answer in answers], pl.Float64),
        ("start", [answer.start for answer in answers], pl.Int64),
        ("end", [answer.end for answer in answers], pl.Int64),
        ("error", [answer.error for answer in answers], pl.String),
        ("model", [model] * len(answers), pl.String),
    )
    return block.with_columns(pl.Series(prefix + name, column, dtype) for name, column, dtype in values)


def check_clash(existing: Sequence[str], prefix: str) -> None:
    """Raises InputError if a column of the file has the name of one that this stage adds."""
    for name in COLUMNS:
        if prefix + name in existing:
            raise InputError(
                "the file has a column of this name already",
                row=0,
                column=prefix + name,
                remedy="choose another with --prefix, say --prefix qa_",
            )


if __name__ == "__main__":
    sys.exit(command.run("answer", answer, arguments()))
