"""The options of `ingest`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from runtime import command
from stages.common.names import FORMATS
from stages.ingesting.limits import Limits


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What the command line says, in the order of its parser."""

    log_format: Literal["text", "json"]
    input: str
    output: Path
    shard_rows: int
    question_column: str
    context_column: str
    formats: tuple[str, ...]
    encoding: str | None
    again: bool
    follow_links: bool
    user_project: str | None
    concurrency: int
    timeout: float
    limits: Limits


def arguments(argv: Sequence[str] | None = None) -> IngestOptions:
    """The stage's options."""
    parser = command.parser("ingest", "Writes the tables below URL to OUTPUT as checked CSVs.")
    parser.add_argument("input", metavar="URL", help="gs://bucket/prefix, any other fsspec URL, or a folder")
    parser.add_argument("output", type=command.location, metavar="OUTPUT", help="folder for the checked CSVs")
    parser.add_argument(
        "--shard-rows",
        type=int,
        default=5000,
        help="most rows that a part may have; longer files become several parts",
    )
    parser.add_argument("--question-column", default="question", help="column with the questions")
    parser.add_argument("--context-column", default="context", help="column with the contexts")
    parser.add_argument("--formats", default=",".join(FORMATS), help="file formats to read")
    parser.add_argument(
        "--encoding",
        help="encoding of lines that are not UTF-8, such as cp1252, or auto to detect it; default: refuse the file",
    )
    parser.add_argument("--again", action="store_true", help="fetch unchanged objects too")
    parser.add_argument("--follow-links", action="store_true", help="follow links that lead out of a local folder")
    parser.add_argument("--user-project", metavar="PROJECT", help="project that pays for a requester-pays bucket")
    parser.add_argument("--concurrency", type=int, default=8, help="number of objects to fetch at the same time")
    parser.add_argument(
        "--timeout",
        type=command.seconds,
        default=60.0,
        help="seconds to wait for the next byte, for gs:// and http(s)://",
    )
    for limit in fields(Limits):
        option = limit.metadata["option"]
        metavar = option[2:].upper().replace("-", "_")
        parser.add_argument(
            option, dest=limit.name, type=int, default=limit.default, metavar=metavar, help=limit.metadata["help"]
        )
    given = vars(parser.parse_args(argv))
    limits = Limits(**{limit.name: given.pop(limit.name) for limit in fields(Limits)})
    options = IngestOptions(**{**given, "formats": tuple(given["formats"].split(","))}, limits=limits)
    if not options.input:
        parser.error("URL is empty; say . for this folder")
    sizes = {"--shard-rows": options.shard_rows, "--concurrency": options.concurrency, "--timeout": options.timeout}
    sizes |= {limit.metadata["option"]: getattr(limits, limit.name) for limit in fields(Limits)}
    for name, size in sizes.items():
        if size <= 0:
            parser.error(f"{name} must be more than 0")
    if options.question_column == options.context_column:
        parser.error("--question-column and --context-column must differ")
    if options.encoding not in (None, "auto") and not _is_encoding(options.encoding):
        parser.error(f"--encoding: Python knows no text encoding {options.encoding!r}; say cp1252, utf-16 or auto")
    if unknown := set(options.formats) - set(FORMATS):
        parser.error(f"--formats: {', '.join(sorted(unknown))!r} is none of {', '.join(FORMATS)}")
    return options


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True
