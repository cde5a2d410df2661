"""What earlier runs have written, and what it was made from: which of it still holds, and what of it can be reused."""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.errors import InputError
from stages.answering.formats import FORMATS, target_name
from stages.answering.reuse import OldAnswers
from stages.common.files import begins_with, csv_files, open_regular, partial_name
from stages.common.mirror import Mirror
from stages.csvs.records import Records

if TYPE_CHECKING:
    from stages.answering.options import AnswerOptions
    from stages.answering.rows import AnswerJob, Columns

# How the record of a run begins.
_RECORD_BEGINNING = b'{\n "finished": '
# Options that change where and how fast rows are answered, but no answer.
NO_INFLUENCE = frozenset(
    {
        *("input", "output", "model", "threads", "part", "dask", "batch_datums", "again", "reuse"),
        *("log_format", "metrics", "dry_run", "price_per_cpu_hour"),
    }
)
# Options that change the file, but no answer in it.
OF_THE_FILE = frozenset({"limit", "format"})
# What columns are usually called. By other names the same rows ask something else, or what stands in a column that is
# called like one of answers is the user's. The usual ones are in no digest, so that those in older listings hold.
USUAL_NAMES = {"question_column": "question", "context_column": "context", "prefix": ""}


class Settings(NamedTuple):
    """Digests of all that answers depend on besides the row, and of all that a file depends on besides its input."""

    answers: str
    file: str

    @classmethod
    def of(cls, options: "AnswerOptions", bundle_id: str) -> "Settings":
        """The settings of a run. An option that is new here counts, until it is known to change no answer."""
        names = {field.name for field in fields(options)} - NO_INFLUENCE
        given = {name: getattr(options, name) for name in names}
        usual = {name for name, value in USUAL_NAMES.items() if given[name] == value}
        answers = {name: value for name, value in given.items() if name not in OF_THE_FILE | usual}
        return cls(_digest([bundle_id, answers]), _digest([bundle_id, given]))


class MadeFrom(NamedTuple):
    """What a file was made from, and what it became, as the listing has it."""

    source: str
    file_settings: str
    answer_settings: str
    target: str

    @classmethod
    def parse(cls, text: str | None) -> "MadeFrom | None":
        """The inverse of `str`; None for what another version wrote."""
        words = (text or "").split()
        return cls(*words) if len(words) == len(cls._fields) else None

    def __str__(self) -> str:
        return " ".join(self)


def is_ours(path: Path, columns: "Columns") -> bool:
    """Whether `answer` may have written the file: it has the columns of answers, or is the record of a run."""
    import polars as pl

    if path.suffix == ".json":
        return begins_with(path, _RECORD_BEGINNING)
    try:
        if path.suffix == ".csv":
            with open_regular(path) as stream:
                Records(stream, columns.added)
            return True
        with open_regular(path) as stream:
            header = pl.read_parquet_schema(stream) if path.suffix == ".parquet" else json.loads(stream.readline())
    except (InputError, OSError, ValueError, pl.exceptions.PolarsError):
        return False
    return set(columns.added) <= set(header)


def known_answers(
    output: Path,
    listing: Mapping[str, str | None],
    settings: Settings,
    job: "AnswerJob",
    library: OldAnswers | None,
    name: str,
) -> OldAnswers:
    """What a run would reuse for the CSV `name`. Unlike the run, it moves no file."""
    answers = target_name(name, job.format)
    interrupted = [hidden_path(output, answers, settings, kind) for kind in ("kept", "partial")]
    made_from = if_whole(listing.get(answers), output / answers)
    return old_answers(job.columns, library, settings, interrupted, output / answers, made_from)


def old_answers(
    columns: "Columns",
    library: OldAnswers | None,
    settings: Settings,
    interrupted: Iterable[Path],
    target: Path,
    made_from: MadeFrom | None,
) -> OldAnswers:
    """The answers in what interrupted runs left of a file, and in its last output if that was answered alike."""
    known = OldAnswers(columns, library)
    for path in interrupted:
        if path.exists():
            known.add(path)
    if made_from and made_from.answer_settings == settings.answers:
        known.add(target)
    return known


def hidden_path(output: Path, name: str, settings: Settings, kind: str) -> Path:
    """Where answers are until they are whole: `partial` of this run, `kept` of one that was interrupted."""
    target = output / name
    return target.with_name(f"{_stem(target.name)}{settings.answers[:12]}.{kind}")


def _stem(name: str) -> str:
    """How the names of all hidden files of a target of this name begin."""
    return partial_name(name).removesuffix("partial")


class Leftovers:
    """The hidden files that interrupted runs left, by the targets that they are of.

    Each folder is listed once, when it is first asked about. To list it for each of its files took a run over 5,000
    small files in one folder 25 million comparisons of names.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def of(self, target: Path) -> list[Path]:
        """What is left of a target."""
        if target.parent not in self._folders:
            found, length = defaultdict[str, list[Path]](list), len(_stem(""))
            for path in target.parent.glob(".*.*") if target.parent.is_dir() else ():
                found[path.name[:length]].append(path)
            self._folders[target.parent] = dict(found)
        return self._folders[target.parent].get(_stem(target.name), [])

    def remove(self, target: Path, but: Path | None = None) -> None:
        """Removes what is left of a target, but for one file."""
        for path in self.of(target):
            if path != but:
                path.unlink(missing_ok=True)
        self._folders[target.parent][_stem(target.name)] = [but] if but else []


def unchanged_files(output: Path, files: Mapping[str, Path], settings: Settings, kind: str) -> set[str]:
    """Names of the files that a run would leave alone."""
    listing, names = Mirror.read(output, "answer"), set()
    for name, path in files.items():
        answers = target_name(name, kind)
        made_from = if_whole(listing.get(answers), output / answers)
        try:
            if made_from and made_from[:2] == (file_digest(path), settings.file):
                names.add(name)
        except (InputError, OSError):
            continue
    return names


def if_whole(made_from: str | None, path: Path) -> MadeFrom | None:
    """What an output was made from, if it is there and as it was written."""
    made = MadeFrom.parse(made_from)
    try:
        return made if made and file_digest(path) == made.target else None
    except (InputError, OSError):
        return None


def read_library(folders: Sequence[Path], settings: Settings, columns: "Columns") -> OldAnswers | None:
    """The answers in folders that `answer` wrote under the same bundle and options; others are passed over."""
    if not folders:
        return None
    library, others = OldAnswers(columns), 0
    for folder in folders:
        mirror = Mirror.read(folder, "answer")
        listed = {name: folder / name for name in mirror if name.endswith(FORMATS)}
        for name, path in {**csv_files(folder), **listed}.items():
            made_from = if_whole(mirror.get(name), path)
            if made_from and made_from.answer_settings == settings.answers:
                library.add(path)
            else:
                others += 1
    if others:
        logging.warning("ignored %d files to reuse: damaged, or not answered by this bundle with these options", others)
    return library


def file_digest(path: Path) -> str:
    """The file's sha256."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
