"""CSVs that workers fetch from one fsspec URL, and answers that they put below another: no shared disk is needed."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import AnswermillError, InputError
from runtime.quoting import safe_url
from stages.answering.rows import Counts, Job
from stages.answering.stream import File, Stream
from stages.common.files import partial_name
from stages.common.progress import Progress

# Where a file is seen as soon as its first byte is.
_NOT_ATOMIC = {"file", "local", "sftp", "ssh", "smb", "ftp"}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A CSV to answer, by URLs; `size` in bytes."""

    name: str
    source: str
    target: str
    size: int


def answer_remote(file: RemoteFile, job: Job) -> tuple[Counts, InputError | OSError | None]:
    """Fetches a CSV, answers it and puts the answers in their place, whole. An OSError is for Dask to try again."""
    from fsspec.core import url_to_fs

    with tempfile.TemporaryDirectory(prefix="answermill-") as folder:
        source, target = Path(folder, "in.csv"), Path(folder, "out")
        system, path = url_to_fs(file.source)
        system.get_file(path, str(source))
        counts, errors = Counts(), []
        stream = Stream(job, counts, Progress(0), lambda _: None, lambda _, error: errors.append(error))
        stream.run([File(file.name, source, target)])
        if errors:
            return counts, errors[0]
        system, path = url_to_fs(file.target)
        parent, _, name = path.rpartition("/")
        system.makedirs(parent, exist_ok=True)
        protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
        first = f"{parent}/{partial_name(name)}" if protocols & _NOT_ATOMIC else path
        system.put_file(str(target), first)
        if first != path:
            system.mv(first, path)
    return counts, None


def remote_files(source: str, target: str, target_name: Callable[[str], str]) -> list[RemoteFile]:
    """The CSVs below one URL, and where below the other their answers go. Raises AnswermillError where none can be."""
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(source)
        # `find` takes a folder that it may not list for an empty one.
        there = [file for _, _, files in system.walk(root, detail=True, on_error="raise") for file in files.values()]
    except (OSError, ValueError, ImportError) as error:
        raise AnswermillError(f"{safe_url(source)}: it cannot be listed: {type(error).__name__}") from error
    files = []
    for info in sorted(there, key=lambda info: str(info["name"])):
        path = str(info["name"])
        name = path.removeprefix(root.rstrip("/") + "/")
        if name.lower().endswith(".csv") and not any(part.startswith(".") for part in name.split("/")):
            url = system.unstrip_protocol(path)
            answers = f"{target.rstrip('/')}/{target_name(name)}"
            files.append(RemoteFile(name, url, answers, int(info.get("size") or 0)))
    return files
