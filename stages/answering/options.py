"""The options of `answer`."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime import command
from stages.answering.formats import FORMATS
from stages.answering.shares import Share
from stages.common import batching
from stages.common.names import utf8
from stages.csvs.columns import LONGEST_FIELD

if TYPE_CHECKING:
    from runtime import Decoding


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What the command line says, in the order of its parser; URLs stay text."""

    log_format: Literal["text", "json"]
    input: Path | str
    output: Path | str
    model: Path
    threads: int | None
    question_column: str
    context_column: str
    prefix: str
    top_k: int | None
    min_score: float
    min_confidence: float
    second_look: Literal["auto", "off"] | float
    align_to_words: Literal["yes", "no"] | None
    max_answer_len: int | None
    max_seq_len: int | None
    doc_stride: int | None
    max_field: int
    no_answer: bool
    format: Literal["csv", "parquet", "ndjson"]
    again: bool
    reuse: Sequence[Path]
    limit: int | None
    part: Share | None
    dry_run: bool
    price_per_cpu_hour: float | None
    dask: str | None
    metrics: Path | None
    batch_datums: bool


def arguments(argv: Sequence[str] | None = None) -> AnswerOptions:
    """The stage's options."""
    parser = command.parser("answer", "Answers the questions in every CSV below INPUT.")
    parser.add_argument("input", type=path_or_url, metavar="INPUT", help="a folder of CSVs, or one; - for stdin")
    parser.add_argument("output", type=path_or_url, metavar="OUTPUT", help="folder for the answered CSVs; - for stdout")
    parser.add_argument("--model", type=command.location, default=Path("build/model"), help="bundle to use")
    parser.add_argument(
        "--threads", type=command.positive, help="number of threads; default: the CPUs that this process may use"
    )
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--prefix", default="", help="text in front of the names of the new columns")
    parser.add_argument(
        "--top-k", type=command.positive, help="write the K best answers, one row each, with a column rank"
    )
    parser.add_argument(
        "--min-score",
        type=command.number,
        default=0.0,
        help="leave answers with a lower score blank; their scores stay",
    )
    parser.add_argument(
        "--min-confidence",
        type=command.share,
        default=0.0,
        metavar="C",
        help="leave answers with a lower confidence blank; their scores stay",
    )
    parser.add_argument(
        "--second-look",
        type=second_look,
        default="auto",
        metavar="off|auto|R",
        help="answer a row again in fp32 if its second-best answer scores at least R times the best, or R^2.5 times "
        "where the two share no letter",
    )
    parser.add_argument(
        "--align-to-words", choices=("yes", "no"), help="whether answers grow to whole words; default: the bundle's"
    )
    parser.add_argument("--max-answer-len", type=command.positive, help="longest answer, in tokens")
    parser.add_argument("--max-seq-len", type=command.positive, help="longest window, in tokens")
    parser.add_argument("--doc-stride", type=int, help="overlap of windows, in tokens")
    parser.add_argument(
        "--max-field",
        type=command.positive,
        default=LONGEST_FIELD,
        metavar="BYTES",
        help="longest question or context, in bytes; a row with a longer one has an error",
    )
    parser.add_argument("--no-answer", action="store_true", help='let "no answer" win (SQuAD 2 checkpoints)')
    parser.add_argument("--format", choices=FORMATS, default="csv", help="file format of the answers; default: csv")
    parser.add_argument("--again", action="store_true", help="answer every file again, even unchanged ones")
    parser.add_argument(
        "--reuse",
        type=command.location,
        action="append",
        default=[],
        metavar="FOLDER",
        help="also reuse the answers to equal rows from this OUTPUT of an earlier run; may be repeated",
    )
    parser.add_argument("--limit", type=command.positive, help="answer only the first LIMIT rows of each CSV")
    parser.add_argument("--part", type=parse_share, metavar="I/N", help="answer only the I-th of N shares of the files")
    parser.add_argument(
        "--dry-run", action="store_true", help="write nothing; count the rows and estimate how long the run takes"
    )
    parser.add_argument(
        "--price-per-cpu-hour", type=price, metavar="PRICE", help="with --dry-run: also estimate the cost"
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="spread the files over this Dask cluster, or `local` processes; INPUT and OUTPUT may then be URLs",
    )
    parser.add_argument(
        "--metrics", type=command.location, metavar="FILE", help="write figures for Prometheus every 15 s"
    )
    parser.add_argument(
        batching.OPTION, action="store_true", help="ask a Pachyderm worker for one datum after the other"
    )
    options = AnswerOptions(**vars(parser.parse_args(argv)))
    if options.question_column == options.context_column:
        parser.error("--question-column and --context-column must differ")
    if utf8(options.prefix) != options.prefix:
        parser.error("--prefix is not UTF-8, so no CSV could hold its columns")
    urls = [end for end in (options.input, options.output) if isinstance(end, str)]
    if len(urls) == 1 or (urls and not options.dask):
        parser.error("URLs for both INPUT and OUTPUT go with --dask; `answermill ingest` brings a bucket's CSVs here")
    # Nothing is remembered beside answers at a URL, and a share would be all of it.
    for name in _of_folders(options) if urls else ():
        parser.error(f"{name} goes with folders, not with URLs")
    _check_pipe(parser, options)
    if options.price_per_cpu_hour is not None and not options.dry_run:
        parser.error("--price-per-cpu-hour goes with --dry-run")
    if options.dask and (options.batch_datums or Path("-") in (options.input, options.output)):
        parser.error("--dask takes files, neither a pipe nor --batch-datums; leave one out")
    if options.format == "parquet" and options.output == Path("-"):
        parser.error(
            "--format parquet: a Parquet file cannot be written to a pipe; name a folder, or give --format ndjson"
        )
    return options


def _of_folders(options: AnswerOptions) -> list[str]:
    """The options that were given and are about folders."""
    dry_run, part, metrics, reuse = options.dry_run, options.part, options.metrics, options.reuse
    given = {"--dry-run": dry_run, "--part": part, "--metrics": metrics, "--reuse": reuse}
    return [name for name, value in given.items() if value]


def _check_pipe(parser: argparse.ArgumentParser, options: AnswerOptions) -> None:
    """Ends with a message if a pipe, or a worker of Pachyderm's, is given with an option that is about folders."""
    ends = [options.input, options.output].count(Path("-"))
    if ends == 1:
        parser.error("- stands for stdin and stdout: give it for both INPUT and OUTPUT, or a folder for each")
    for name in _of_folders(options) if ends or options.batch_datums else ():
        what = "a pipe" if ends else f"{batching.OPTION}, whose datums are handed out and taken away one by one"
        parser.error(f"{name} goes with folders, not with {what}")


def parse_share(text: str) -> Share:
    """`2/8`, as the type of an option. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, as in 2/8")
    return Share(int(match[1]), int(match[2]))


def price(text: str) -> float:
    """A price, as the type of an option. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a price such as 0.04")
    return value


def path_or_url(text: str) -> Path | str:
    """A path, or a URL as it stands, as the type of an option."""
    return text if "://" in text else command.location(text)


def second_look(text: str) -> str | float:
    """`off`, `auto` or a ratio, as the type of an option. Raises ArgumentTypeError."""
    if text in ("off", "auto"):
        return text
    try:
        return command.share(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; it takes off, auto or a ratio such as 0.9") from error


def decoding_of(options: AnswerOptions, defaults: "Decoding") -> "Decoding":
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
