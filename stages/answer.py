"""CSVs of questions -> the same CSVs with answers.

Each CSV below INPUT is written again below OUTPUT, under the same relative path, with the same rows in the same order
and the same text, plus the columns answer, score, confidence, start, end, error and model. OUTPUT mirrors INPUT: what
is answered already is left alone, what is gone from INPUT goes from OUTPUT too.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.cpu import available_cpus, limit_pools
from runtime.errors import InputError, OptionError
from stages.answering.formats import FORMATS, target_name
from stages.answering.rows import COLUMNS, Columns, Counts, Job, Least
from stages.answering.shares import Share, files_of, share, share_of_environment
from stages.common import batching
from stages.common.files import check_apart, csv_files, size_of, whole_file
from stages.common.mirror import keeps_listing, open_mirror
from stages.common.names import REJECTED, origin_of
from stages.common.progress import Progress

if TYPE_CHECKING:
    from runtime import Decoding

__all__ = ["COLUMNS"]

# Fewer answers than these say nothing of a model.
MIN_ROWS_TO_JUDGE = 20


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The stage's options."""
    parser = command.parser("answer", "Answers the questions in every CSV below INPUT.")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a folder of CSVs, or one; - for stdin")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder for the answered CSVs; - for stdout")
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
        "--min-confidence", type=float, default=0.0, metavar="C", help="leave less certain answers blank; figures stay"
    )
    parser.add_argument(
        "--second-look",
        type=second_look,
        default="auto",
        metavar="off|auto|R",
        help="answer a row again in fp32 where its second-best answer scores at least R times the best",
    )
    parser.add_argument(
        "--align-to-words", choices=("yes", "no"), help="whether answers grow to whole words; default: the bundle's"
    )
    parser.add_argument("--max-answer-len", type=command.positive, help="longest answer, in tokens")
    parser.add_argument("--max-seq-len", type=command.positive, help="longest window, in tokens")
    parser.add_argument("--doc-stride", type=int, help="overlap of windows, in tokens")
    parser.add_argument("--no-answer", action="store_true", help='let "no answer" win (SQuAD 2 checkpoints)')
    parser.add_argument(
        "--format", choices=FORMATS, default="csv", help="what the answers are written as; default: csv"
    )
    parser.add_argument("--again", action="store_true", help="answer every file, also those answered before")
    parser.add_argument(
        "--reuse",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="take answers to equal rows from this OUTPUT of an earlier run, too; may be repeated",
    )
    parser.add_argument("--limit", type=command.positive, help="answer the first rows of each CSV only, this many")
    parser.add_argument("--part", type=share, metavar="I/N", help="answer only the I-th of N shares of the files")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; count, and say how long it would take")
    parser.add_argument("--price-per-cpu-hour", type=float, metavar="PRICE", help="for --dry-run: say the cost too")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="write figures for Prometheus every 15 s")
    parser.add_argument(batching.OPTION, action="store_true", help="take datum after datum from a Pachyderm worker")
    options = parser.parse_args(argv)
    if options.question_column == options.context_column:
        parser.error("--question-column and --context-column must differ")
    if options.format == "parquet" and options.output == Path("-"):
        parser.error("--format parquet: such a file cannot go through a pipe; name a folder, or say --format ndjson")
    return options


def answer(options: argparse.Namespace) -> int:
    """Answers all files; a file that breaks a rule fails alone. Returns the exit code."""
    if options.input == options.output == Path("-"):
        return answer_pipe(load_job(options))
    check_apart(options.input, options.output)
    # Before a second is spent on the model.
    files = csv_files(options.input)
    if not files:
        logging.warning("%s: no CSV in it; other tables become CSVs by `answermill ingest`", options.input)
    part = options.part or share_of_environment(os.environ)
    due = files
    if part:
        names = files_of({name: size_of(path) for name, path in files.items()}, part)
        due = {name: path for name, path in files.items() if name in names}
    job = load_job(options)
    if not keeps_listing():
        failures = answer_datum(job, options)
        return command.exit_code(list(failures), len(files))
    if options.dry_run:
        return foretell(job, options, due)
    failures = answer_folder(job, options, files, due, part)
    return command.exit_code(list(failures), len(due))


def answer_pipe(job: Job) -> int:
    """Answers the CSV on stdin, to stdout. Returns the exit code."""
    from stages.answering.pipes import answer_stdin

    counts, seconds, is_whole = answer_stdin(job)
    summarise(job, counts, seconds, ["stdin"])
    return command.DONE if is_whole else command.FAILED


def answer_folder(
    job: Job, options: argparse.Namespace, files: dict[str, Path], due: dict[str, Path], part: Share | None
) -> dict[str, str]:
    """Answers the files in `due`; OUTPUT mirrors all of `files`. Returns what was wrong with those that failed."""
    from stages.answering.mirrored import MirroredRun, Settings, read_library

    settings, counts = Settings.of(options, job.model), Counts()
    with (
        open_mirror(options.output, "answer", part.suffix if part else "") as mirror,
        Progress(sum(size_of(path) for path in due.values())) as progress,
    ):
        library = None if options.again else read_library(options.reuse, settings, job.columns)
        run = MirroredRun(job, settings, mirror, options.output, counts, progress)
        with measured(options, job, counts, progress, part):
            run.run(due, options.again, library)
        # One CSV says nothing of the others that were answered into the same folder.
        others = set() if options.input.is_dir() else {*mirror.paths()} - targets(files, *FORMATS)
        run.settle(others | targets(files, job.format))
    summarise(job, counts, progress.seconds, list(due))
    return run.failures


def targets(names: Iterable[str], *kinds: str) -> set[str]:
    """Paths of the answers to CSVs, in each of the formats."""
    return {target_name(name, kind) for name in names for kind in kinds}


def foretell(job: Job, options: argparse.Namespace, due: dict[str, Path]) -> int:
    """Says what a run would take. Returns the exit code that it would have."""
    from stages.answering.estimate import estimate
    from stages.answering.mirrored import Settings, unchanged

    known = set() if options.again else unchanged(options.output, due, Settings.of(options, job.model), job.format)
    result = estimate(job, {name: path for name, path in due.items() if name not in known}, len(known))
    for reason in result.rejected:
        logging.error("%s", reason)
    command.summarise("estimate", result.figures(job.answerer.threads, options.price_per_cpu_hour))
    return command.FAILED if result.rejected else command.DONE


def measured(
    options: argparse.Namespace, job: Job, counts: Counts, progress: Progress, part: Share | None
) -> contextlib.AbstractContextManager[None]:
    """Writes the figures of the run where the options want them, and beside its output."""
    from stages.answering.metrics import Report, reported

    record = options.output / f"run{part.suffix if part else ''}.json"
    return reported(Report(job, counts, progress, options), options.metrics, record)


def answer_datum(job: Job, options: argparse.Namespace) -> dict[str, str]:
    """Answers a datum of Pachyderm's, whose output starts empty. Returns what the environment kept from being answered.

    A CSV that breaks a rule must not hold up the others for ever: it is named in `rejected`.
    """
    from stages.answering.stream import File, Stream

    files, counts, failures = csv_files(options.input), Counts(), {}

    def fail(file: File, error: InputError | OSError) -> None:
        logging.error("%s: %s", file.name, error)
        if isinstance(error, InputError):
            reject(options.output, file.name, error)
        else:
            failures[file.name] = f"{file.name}: {error}"

    with Progress(sum(size_of(path) for path in files.values())) as progress:
        stream = Stream(job, counts, progress, lambda _: None, fail)
        stream.run(File(name, path, options.output / target_name(name, job.format)) for name, path in files.items())
    summarise(job, counts, progress.seconds, list(files))
    return failures


def reject(output: Path, name: str, error: InputError) -> None:
    """Writes why a CSV was not answered, in the form that ingest gives its own."""
    note = {
        "object": origin_of(name).file,
        "row": error.row,
        "column": error.column,
        "reason": error.reason,
        "remedy": error.remedy,
    }
    with whole_file(output / REJECTED / f"{name}.json") as file:
        file.write(json.dumps(note, ensure_ascii=True, indent=1).encode() + b"\n")


def prepare(options: argparse.Namespace) -> Callable[[], str]:
    """Loads the model once. Returns what answers the datum that lies in INPUT, and says what was wrong with it."""
    job = load_job(options)

    def process() -> str:
        check_apart(options.input, options.output)
        return "; ".join(answer_datum(job, options).values())

    return process


def second_look(text: str) -> str | float:
    """`off`, `auto` or a ratio, as the type of an option. Raises ArgumentTypeError."""
    if text in ("off", "auto"):
        return text
    try:
        ratio = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not off, auto or a ratio such as 0.9") from error
    if not 0 <= ratio <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return ratio


def load_job(options: argparse.Namespace) -> Job:
    """The bundle with the options that concern it. Raises AnswermillError."""
    from runtime import Answerer

    threads = options.threads or available_cpus()
    limit_pools(threads)
    answerer = Answerer.load(options.model, threads, options.second_look)
    if options.min_confidence > 0 and answerer.bundle.manifest.confidence is None:
        raise OptionError(
            "--min-confidence: this bundle has no confidence; `answermill calibrate` adds it from labelled rows"
        )
    columns = Columns(options.question_column, options.context_column, options.prefix, options.top_k is not None)
    decoding = decoding_of(options, answerer.bundle.manifest.decoding)
    least = Least(options.min_score, options.min_confidence)
    job = Job(answerer, decoding, columns, least, options.limit, options.format)
    # Limits that the model cannot keep are a mistake of the command line, not of the first file.
    answerer.answer((), job.decoding)
    return job


def summarise(job: Job, counts: Counts, seconds: float, names: list[str]) -> None:
    """The line that ends a run."""
    figures = {
        "files": counts.files,
        "rows": counts.rows,
        "answered": counts.rows - counts.errors.total() - counts.weak,
        "below_min_score": counts.weak,
        "errors": dict(counts.errors),
        "unchanged_files": counts.unchanged,
        "reused_rows": counts.reused,
        "seconds": round(seconds, 2),
        "rows_per_second": round(counts.rows / seconds, 1) if seconds else 0.0,
        "tokens_per_second": round(counts.tokens / seconds) if seconds else 0,
        "model": job.model,
        # A set's log does not say which datum a line is of.
        **({"file": names[0]} if len(names) == 1 else {}),
    }
    command.summarise("done", figures)
    if counts.rows >= MIN_ROWS_TO_JUDGE and counts.whole > counts.rows / 2:
        logging.warning(
            "%d of %d answers are their whole context: the model takes it for one word, as in scripts without blanks; "
            "try --align-to-words no",
            counts.whole,
            counts.rows,
        )


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


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if batching.is_wanted(argv):
        return batching.serve("answer", argv, arguments, prepare)
    return command.run("answer", answer, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
