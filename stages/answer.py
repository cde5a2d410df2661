"""CSVs of questions -> the same CSVs with answers.

Each CSV below INPUT is written again below OUTPUT, under the same relative path, with the same rows in the same order
and the same text, plus the columns answer, score, confidence, start, end, error and model. OUTPUT mirrors INPUT: what
is answered already is left alone, what is gone from INPUT goes from OUTPUT too.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import command
from runtime.cpu import available_cpus, limit_pools
from runtime.errors import InputError, OptionError
from runtime.logs import summarise
from runtime.quoting import safe_url
from stages.answering.formats import FORMATS, target_name
from stages.answering.options import AnswerOptions, arguments, decoding_of
from stages.answering.rows import AnswerJob, Columns, Counts, Least
from stages.answering.shares import Share, files_of, share_of_environment
from stages.answering.summary import log_counts
from stages.common import batching
from stages.common.files import check_apart, size_of
from stages.common.inputs import Input, read_input
from stages.common.mirror import Mirror, keeps_listing, open_mirror
from stages.common.progress import Progress

if TYPE_CHECKING:
    from stages.answering.remote import RemoteFile
    from stages.answering.spread import DaskSpread


def answer(options: AnswerOptions) -> int:
    """Answers all files; a file that breaks a rule fails alone. Returns the exit code."""
    if isinstance(options.input, str):
        return answer_urls(options)
    source, output = Path(options.input), Path(options.output)
    if source == output == Path("-"):
        return answer_pipe(load_job(options))
    check_apart(source, output)
    # Before a second is spent on the model.
    given = read_input(source, output)
    files = given.files
    if not files:
        logging.warning(
            "%s: no CSV in it, so nothing is answered or removed; other tables become CSVs by `answermill ingest`",
            source,
        )
    if options.metrics:
        from stages.answering.metrics import check_metrics

        check_metrics(options.metrics, source, output)
    share = options.part or share_of_environment(os.environ)
    due = files
    if share:
        names = files_of({name: size_of(path) for name, path in files.items()}, share)
        due = {name: path for name, path in files.items() if name in names}
    job = load_job(options)
    if not keeps_listing():
        from stages.answering.datum import answer_datum

        failures = answer_datum(job, source, output)
        return command.exit_code(list(failures), len(files))
    if options.dry_run:
        return log_estimate(job, options, due)
    failures = answer_folder(job, options, given, due, share)
    return command.exit_code(list(failures), len(due))


def answer_pipe(job: AnswerJob) -> int:
    """Answers the CSV on stdin, to stdout. Returns the exit code."""
    from stages.answering.pipes import answer_stdin

    counts, seconds, is_whole = answer_stdin(job)
    log_counts(job.model, counts, seconds, ["stdin"])
    return command.DONE if is_whole else command.FAILED


def answer_folder(
    job: AnswerJob, options: AnswerOptions, given: Input, due: dict[str, Path], share: Share | None
) -> dict[str, str]:
    """Answers the files in `due`; OUTPUT mirrors INPUT. Returns what was wrong with those that failed."""
    from stages.answering.earlier import Settings, is_ours, read_library
    from stages.answering.mirrored import MirroredRun

    settings, counts, output = Settings.of(options, job.model), Counts(), Path(options.output)
    with (
        open_mirror(output, "answer", share.suffix if share else "") as mirror,
        Progress(sum(size_of(path) for path in due.values())) as progress,
    ):
        others = {path for path in mirror.paths() if not given.covers(path)} - targets(given.files, *FORMATS)
        records = {record_path(options, share).name} if mirror.is_new else set()
        mirror.check_own(records | targets(given.files, job.format), lambda path: is_ours(path, job.columns))
        if given.subpath is not None and given.files:
            mirror.take_from(given.folder, others | targets(given.files, *FORMATS))
        library = None if options.again else read_library(options.reuse, settings, job.columns)
        run = MirroredRun(job, settings, mirror, output, counts, progress)
        with measure(options, job, counts, progress, share):
            run.run(due, options.again, library, spread_of(options))
        run.settle(others | targets(given.files, job.format))
    log_counts(job.model, counts, progress.seconds, list(due))
    return run.failures


def answer_urls(options: AnswerOptions) -> int:
    """Answers the CSVs below a URL on a Dask cluster, and puts the answers below another. Returns the exit code."""
    from stages.answering.remote import remote_files

    files = remote_files(str(options.input), str(options.output), lambda name: target_name(name, options.format))
    # Here, so that a bundle or an option that makes no sense is reported once, and not by each worker.
    job = load_job(options)
    counts, failures = Counts(), []

    def finish(file: "RemoteFile", error: InputError | OSError | None, _digest: str) -> None:
        if error:
            logging.error("%s: %s", file.name, error)
            failures.append(file.name)

    spread = spread_of(options)
    if not files or not spread:
        logging.warning("%s: no CSV below it", safe_url(str(options.input)))
        return command.DONE
    with Progress(sum(file.size for file in files)) as progress:
        spread.run(iter(files), job, counts, progress, finish)
    log_counts(job.model, counts, progress.seconds, [file.name for file in files])
    return command.exit_code(failures, len(files))


def spread_of(options: AnswerOptions) -> "DaskSpread | None":
    """The cluster that the options name."""
    if not options.dask:
        return None
    from stages.answering.spread import DaskSpread

    # Not our own: started by `python -m`, this module is `__main__`, which no worker can import.
    return DaskSpread(options.dask, import_module("stages.answer").load_job, options)


def targets(names: Iterable[str], *kinds: str) -> set[str]:
    """Paths of the answers to CSVs, in each of the formats."""
    return {target_name(name, kind) for name in names for kind in kinds}


def log_estimate(job: AnswerJob, options: AnswerOptions, due: dict[str, Path]) -> int:
    """Logs what a run would take. Returns the exit code."""
    from stages.answering.earlier import Settings, known_answers, read_library, unchanged_files
    from stages.answering.estimate import estimate

    settings, same, known = Settings.of(options, job.model), set[str](), None
    output = Path(options.output)
    if not options.again:
        same = unchanged_files(output, due, settings, job.format)
        listing = Mirror.read(output, "answer")
        # The ranks of a row cannot be reused.
        library = read_library(options.reuse, settings, job.columns)
        known = None if job.columns.ranks else partial(known_answers, output, listing, settings, job, library)
    result = estimate(job, {name: path for name, path in due.items() if name not in same}, len(same), known)
    for reason in result.rejected:
        logging.error("%s", reason)
    summarise("estimate", result.figures(job.answerer.threads, options.price_per_cpu_hour))
    return command.FAILED if result.rejected else command.DONE


def measure(
    options: AnswerOptions, job: AnswerJob, counts: Counts, progress: Progress, share: Share | None
) -> contextlib.AbstractContextManager[None]:
    """Writes the figures of the run if the options want them, and beside its output."""
    from stages.answering.metrics import Report, write_reports

    return write_reports(Report(job, counts, progress, options), options.metrics, record_path(options, share))


def record_path(options: AnswerOptions, share: Share | None) -> Path:
    """Where the record of the run goes."""
    return Path(options.output) / f"run{share.suffix if share else ''}.json"


def prepare(options: AnswerOptions) -> Callable[[], str]:
    """Loads the model once. Returns what answers the datum that lies in INPUT, and says what was wrong with it."""
    from stages.answering.datum import answer_datum

    job, source, output = load_job(options), Path(options.input), Path(options.output)

    def process() -> str:
        check_apart(source, output)
        return "; ".join(answer_datum(job, source, output).values())

    return process


def load_job(options: AnswerOptions) -> AnswerJob:
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
    job = AnswerJob(answerer, decoding, columns, least, options.limit, options.format, options.max_field)
    # Limits that the model cannot keep are a mistake of the command line, not of the first file.
    answerer.answer((), job.decoding)
    return job


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if batching.is_wanted(argv):
        return batching.serve("answer", argv, arguments, prepare)
    return command.run("answer", answer, arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
