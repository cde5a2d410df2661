"""What a try left in /pfs/out -> files for the output commit."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.local.store.files import File, digest
from pachyderm.local.store.names import path_problem
from pachyderm.local.worker.scratch import Scratch


class OutputError(PachydermError):
    """The output cannot be committed. On a cluster such a job starts again and again."""


def collect(scratch: Scratch, output: Callable[[int], Path]) -> dict[str, File]:
    """Takes the files of a try; `output` says where the content of each goes. Returns them by path, in order.

    Links are followed; folders without files and what is no regular file are dropped; hidden files are taken, as on a
    cluster. Raises OutputError for a dangling link, for a name that a repo does not take, and where /pfs/out is not the
    folder any more that the process was given: what is there now may be anybody's.
    """
    if not scratch.is_intact():
        raise OutputError("/pfs/out was removed or replaced; write files into it and leave the folder itself alone")
    out = scratch.folder.resolve()
    listed = sorted(_output_files(out, "", frozenset()))
    links = any(source.is_symlink() or source != out / path[1:] for path, source in listed)
    files: dict[str, File] = {}
    for index, (path, source) in enumerate(listed):
        if reason := path_problem(path):
            raise OutputError(f"output {path}: {reason}")
        kept = output(index)
        kept.unlink(missing_ok=True)
        if not links and source.stat().st_nlink == 1:
            source.rename(kept)
        else:
            _keep(source, kept, out, scratch.originals)
        kept.chmod(0o444)
        files[path] = digest(kept)
    return files


def _keep(source: Path, target: Path, out: Path, originals: Mapping[Path, Path]) -> None:
    """Takes over a file of the output, or copies what a link leads to; for an input laid out empty, its content.

    A file with a second name elsewhere is copied too: it can still be written to, and its mode is not ours to change.
    """
    real = source.resolve()
    if real.is_relative_to(out) and real.stat().st_nlink == 1:
        os.link(real, target)
    else:
        shutil.copyfile(originals.get(real, real), target)


def _output_files(folder: Path, path: str, above: frozenset[Path]) -> Iterator[tuple[str, Path]]:
    """Every regular file below a folder as (path, where it is), in order."""
    real = folder.resolve()
    if real in above:
        raise OutputError(f"output {path}: a link to a folder above it; remove it")
    for entry in sorted(os.scandir(real), key=lambda entry: entry.name):
        location, inner = Path(entry.path), f"{path}/{entry.name}"
        if entry.is_symlink() and not location.exists():
            raise OutputError(
                f"output {inner}: a link to {location.readlink()}, which does not exist; remove it, or write that file"
            )
        if location.is_dir():
            yield from _output_files(location, inner, above | {real})
        elif location.is_file():
            yield inner, location
