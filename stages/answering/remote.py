"""CSVs that workers fetch from one fsspec URL, and answers that they put below another: no shared disk is needed."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from runtime.errors import AnswermillError, InputError, OptionError
from runtime.logs import printable
from runtime.quoting import safe_url, without_secrets
from stages.answering.rows import AnswerJob, Counts
from stages.answering.stream import File, Stream
from stages.common.clients import calm_gcsfs
from stages.common.files import check_apart, is_hidden
from stages.common.progress import Progress

# Where a file is seen as soon as its first byte is.
_NOT_ATOMIC = {"file", "local", "sftp", "ssh", "smb", "ftp"}
# Where one listing has every object by its prefix; asked folder by folder, these lose `a//b.csv`.
_FLAT = {"gs", "gcs", "s3", "s3a", "az", "abfs", "abfss"}


@dataclass(frozen=True, slots=True)
class Remote:
    """A place in an fsspec file system. Workers are given both: the path alone has lost the user and the host."""

    system: Any
    path: str

    def __repr__(self) -> str:
        """The path without its query: for HTTP it is the whole URL."""
        return f"Remote({safe_url(self.path)!r})"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A CSV to answer; `size` in bytes."""

    name: str
    source: Remote
    target: Remote
    size: int


class Outcome(NamedTuple):
    """What a worker says of a file: its counts, what was wrong with it, and the sha256 of the bytes that it answered.

    The client's own view of a shared disk may be older or newer.
    """

    counts: Counts
    error: InputError | OSError | None = None
    digest: str = ""


def answer_one(file: File, job: AnswerJob) -> Outcome:
    """Answers one file."""
    counts, errors, digests = Counts(), [], []
    done, failed = lambda _, digest: digests.append(digest), lambda _, error: errors.append(error)
    Stream(job, counts, Progress(0), done, failed).run([file])
    return Outcome(counts, *errors) if errors else Outcome(counts, None, *digests)


def answer_remote(file: RemoteFile, job: AnswerJob) -> Outcome:
    """Fetches a CSV, answers it and puts the answers in their place, whole. Raises OSError, for Dask to try again."""
    with tempfile.TemporaryDirectory(prefix="answermill-") as folder:
        source, target = Path(folder, "in.csv"), Path(folder, "out")
        with _hide_messages("fetched"):
            file.source.system.get_file(file.source.path, str(source))
        outcome = answer_one(File(file.name, source, target), job)
        if not outcome.error:
            with _hide_messages("written"):
                _put(target, file.target)
    return outcome


def _put(source: Path, target: Remote) -> None:
    system = target.system
    parent, _, name = target.path.rpartition("/")
    system.makedirs(parent, exist_ok=True)
    # A worker that was taken for dead may still write: each has a name of its own until the file is whole.
    first = f"{parent}/.{name}.{uuid4().hex}.partial" if _protocols(system) & _NOT_ATOMIC else target.path
    system.put_file(str(source), first)
    if first != target.path:
        system.mv(first, target.path)


@contextlib.contextmanager
def _hide_messages(step: str) -> Iterator[None]:
    try:
        yield
    # Each protocol has its own errors, and many quote the URL, signature included: only their names are safe.
    except Exception as error:  # noqa: BLE001
        raise OSError(f"{type(error).__name__} while the file was {step}") from None


def _check_apart(reads: Remote, writes: Remote, source: str, target: str) -> None:
    """Raises OptionError if the answers would replace, or lie among, what is read."""
    shared = _protocols(reads.system) & _protocols(writes.system)
    if shared & {"file", "local"}:
        check_apart(Path(reads.path), Path(writes.path))
    if shared and f"{writes.path.rstrip('/')}/".startswith(f"{reads.path.rstrip('/')}/"):
        raise OptionError(
            f"OUTPUT ({safe_url(target)}) lies in INPUT ({safe_url(source)}); choose a place outside of it"
        )


def remote_files(source: str, target: str, target_name: Callable[[str], str]) -> list[RemoteFile]:
    """The CSVs below one URL, and where below the other their answers go.

    Raises AnswermillError where there can be none, OptionError if the answers would lie among what is read.
    """
    root, answers = _open(source), _open(target)
    _check_apart(root, answers, source, target)
    with _explain_errors(source):
        listed = _listing(root)
    files = []
    for info in sorted(listed, key=lambda info: str(info["name"])):
        path = str(info["name"])
        name = path.removeprefix(root.path.rstrip("/") + "/")
        if not name.lower().endswith(".csv") or is_hidden(name):
            continue
        if "" in name.split("/"):
            # On a disk `a//b.csv` and `a/b.csv` are one file, and the answers to one would replace the other's.
            raise AnswermillError(f"{printable(name)}: a name with two slashes in a row; rename it")
        put = Remote(answers.system, f"{answers.path.rstrip('/')}/{target_name(name)}")
        files.append(RemoteFile(name, Remote(root.system, path), put, int(info.get("size") or 0)))
    return files


def _listing(root: Remote) -> list[dict[str, Any]]:
    if _protocols(root.system) & _FLAT:
        return list(root.system.find(root.path, detail=True).values())
    # Here `find` takes a folder that it may not list for an empty one.
    folders = root.system.walk(root.path, detail=True, on_error="raise")
    return [file for _, _, files in folders for file in files.values()]


def _open(url: str) -> Remote:
    from fsspec.core import url_to_fs

    calm_gcsfs()
    with _explain_errors(url):
        system, path = url_to_fs(url)
    return Remote(system, str(path))


@contextlib.contextmanager
def _explain_errors(url: str) -> Iterator[None]:
    """Raises AnswermillError for whatever the protocol raises, and keeps the secrets of the URL out of it."""
    try:
        yield
    except Exception as error:
        reason = without_secrets(str(error), url) or type(error).__name__
        raise AnswermillError(f"{safe_url(url)}: {reason}; check the URL, and your rights there") from error


def _protocols(system: Any) -> set[str]:
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
