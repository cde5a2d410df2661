"""CSVs of questions -> the same CSVs with answers.

Each CSV below INPUT is written again below OUTPUT, under the same relative path, with the same rows in the same order
and the same text, plus the columns answer, score, confidence, start, end, error and model.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.cpu import available_cpus, limit_pools
from runtime.errors import InputError
from stages.answering.rows import COLUMNS, Columns, Job, Tally, answer_file
from stages.common import batching
from stages.common.files import check_apart, csv_files
from stages.common.progress import Progress

if TYPE_CHECKING:
    from runtime import Decoding

__all__ = ["COLUMNS"]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("answer", "Answers the questions in every CSV below INPUT.")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a folder of CSVs, or one CSV")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for the answered CSVs")
    parser.add_argument("--model", type=Path, default=Path("build/model"), help="bundle to use")
    parser.add_argument("--threads", type=command.positive, help="default: the CPUs this process may use")
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="put before the names of the new columns")
    parser.add_argument(
        "--top-k", type=command.positive, help="write the K best answers, one row each, with a column rank"
    )
    parser.add_argument("--min-score", type=float, default=0.0, help="leave weaker answers blank; scores stay")
    parser.add_argument(
        "--min-confidence", type=float, default=0.0, help="leave less confident answers blank; confidences stay"
    )
    parser.add_argument(
        "--second-look",
        type=second_look,
        default="auto",
        metavar="off|auto|R",
        help="answer near ties again in fp32: those whose second-best answer scores at least R times the best",
    )
    parser.add_argument(
        "--align-to-words", choices=("yes", "no"), help="whether answers grow to whole words; default: the bundle's"
    )
    parser.add_argument("--max-answer-len", type=command.positive, help="longest answer, in tokens")
    parser.add_argument("--max-seq-len", type=command.positive, help="longest window, in tokens")
    parser.add_argument("--doc-stride", type=int, help="overlap of windows, in tokens")
    parser.add_argument("--no-answer", action="store_true", help='let "no answer" win (SQuAD 2 checkpoints)')
    parser.add_argument(batching.OPTION, action="store_true", help="take datum after datum from a Pachyderm worker")
    options = parser.parse_args(argv)
    if options.question_column == options.context_column:
        parser.error("--question-column and --context-column must differ")
    return options


def answer(options: argparse.Namespace) -> int:
    """Answers all files; a file that breaks a rule fails alone. Returns the exit code."""
    check_apart(options.input, options.output)
    # Before a second is spent on the model.
    csv_files(options.input)
    failed = answer_files(load_job(options), options.input, options.output)
    return command.exit_code(list(failed), len(csv_files(options.input)))


def prepare(options: argparse.Namespace) -> Callable[[], str]:
    """Loads the model once. Returns what answers the datum that lies in INPUT, and says what was wrong with it."""
    check_apart(options.input, options.output)
    job = load_job(options)
    return lambda: "; ".join(answer_files(job, options.input, options.output).values())


def load_job(options: argparse.Namespace) -> Job:
    """The bundle with the options that concern it. Raises AnswermillError."""
    from runtime import Answerer

    threads = options.threads or available_cpus()
    limit_pools(threads)
    answerer = Answerer.load(options.model, threads, options.second_look)
    columns = Columns(options.question_column, options.context_column, options.prefix, options.top_k is not None)
    decoding = decoding_of(options, answerer.bundle.manifest.decoding)
    job = Job(answerer, decoding, columns, options.min_score, options.min_confidence)
    # Limits that the model cannot keep are a mistake of the command line, not of the first file.
    answerer.answer((), job.decoding)
    return job


def answer_files(job: Job, source: Path, target: Path) -> dict[str, str]:
    """Answers every file below `source`. Returns what was wrong with those that failed, by name."""
    files = csv_files(source)
    tally, failed = Tally(), {}
    with Progress(sum(path.stat().st_size for path in files.values())) as progress:
        for name, path in files.items():
            try:
                answer_file(path, target / name, job, tally, progress)
            except InputError as error:
                logging.error("%s: %s", name, error)
                failed[name] = f"{name}: {error}"
    seconds = progress.seconds
    figures = {
        "files": tally.files,
        "rows": tally.rows,
        "answered": tally.rows - tally.errors.total() - tally.weak - tally.unsure,
        "below_min_score": tally.weak,
        "below_min_confidence": tally.unsure,
        "second_looks": tally.second_looks,
        "errors": dict(tally.errors),
        "seconds": round(seconds, 2),
        "rows_per_second": round(tally.rows / seconds, 1) if seconds else 0.0,
        "tokens_per_second": round(tally.tokens / seconds) if seconds else 0,
        "model": job.model,
        # A set's log does not say which datum a line is of.
        **({"file": next(iter(files))} if len(files) == 1 else {}),
    }
    command.summarise("done", figures)
    return failed


def decoding_of(options: argparse.Namespace, defaults: "Decoding") -> "Decoding":
    """The bundle's defaults, changed by the options that were given."""
    from runtime.decoding import Decoding, default_doc_stride

    length = options.max_seq_len or defaults.max_seq_len
    overlap = defaults.doc_stride if options.max_seq_len is None else default_doc_stride(length)
    return Decoding(
        max_seq_len=length,
        doc_stride=overlap if options.doc_stride is None else options.doc_stride,
        max_answer_len=options.max_answer_len or defaults.max_answer_len,
        top_k=options.top_k or 1,
        handle_impossible_answer=options.no_answer or defaults.handle_impossible_answer,
        align_to_words=defaults.align_to_words if options.align_to_words is None else options.align_to_words == "yes",
    )


def second_look(text: str) -> str | float:
    """`off`, `auto` or a ratio, as the type of an option. Raises ArgumentTypeError."""
    if text in ("off", "auto"):
        return text
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither off nor auto nor a number") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if batching.is_wanted(argv):
        return batching.serve("answer", argv, arguments, prepare)
    return command.run("answer", answer, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
