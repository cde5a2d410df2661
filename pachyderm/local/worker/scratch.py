"""One datum's /pfs: its files, an empty `out`, `.env`; made anew for every try.

As on a cluster, `/pfs/NAME` and `/pfs/out` are links into a scratch folder, so that code which does not follow the
topmost link fails here too.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pachyderm.local.datums import Datum


@dataclass(frozen=True, slots=True)
class Scratch:
    """A datum laid out.

    Attributes:
        out: the link through which the user's code writes; `link` is where it leads, and `folder` that folder.
        originals: for files that are laid out empty, where their content is.
        environment: the variables that only this datum has.

    """

    out: Path
    link: Path
    folder: Path
    originals: Mapping[Path, Path]
    environment: Mapping[str, str]


def lay_out(datum: Datum, pfs: Path, seen_as: Path) -> Scratch:
    """Puts a datum into the folder `pfs`, which its process sees as `seen_as`."""
    clear(pfs)
    own = pfs / ".scratch" / uuid.uuid4().hex
    (own / "out").mkdir(parents=True)
    link = (own / "out").relative_to(pfs)
    (pfs / "out").symlink_to(link)
    originals: dict[Path, Path] = {}
    environment: dict[str, str] = {}
    for piece in datum.pieces:
        folder = own / piece.name
        if not folder.exists():
            folder.mkdir()
            (pfs / piece.name).symlink_to(folder.relative_to(pfs))
        for path in piece.files:
            target, source = folder / path[1:], piece.commit.path_of(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if piece.empty_files:
                target.touch()
                originals[target.resolve()] = source
            else:
                shutil.copyfile(source, target)
        environment[piece.name] = str(seen_as / piece.name / piece.path[1:].rstrip("/"))
        environment[f"{piece.name}_COMMIT"] = piece.commit.id
        for variable, value in (("JOIN_ON", piece.join_on), ("GROUP_BY", piece.group_by)):
            if value:
                environment[f"PACH_DATUM_{piece.name}_{variable}"] = value
    environment["PACH_DATUM_ID"] = datum.id
    return Scratch(pfs / "out", link, own / "out", originals, environment)


def write_environment(pfs: Path, environment: Mapping[str, str]) -> None:
    """Writes `/pfs/.env`: the whole environment, unescaped, for nobody else to read."""
    text = "".join(f"{name}={value}\n" for name, value in environment.items())
    file = pfs / ".env"
    file.touch(mode=0o600, exist_ok=False)
    file.write_bytes(text.encode("utf-8", "surrogateescape"))


def remove_environment(pfs: Path) -> None:
    """Takes `/pfs/.env` away when its datum has ended."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        (pfs / ".env").unlink()


def repoint(out: Path, seen_as: Path, pfs: Path) -> None:
    """Turns links that a process made into its own view of /pfs into links that lead to the same from outside."""
    for folder, folders, names in os.walk(out):
        for name in folders + names:
            link = Path(folder, name)
            if link.is_symlink() and link.readlink().is_relative_to(seen_as):
                target = pfs / link.readlink().relative_to(seen_as)
                link.unlink()
                link.symlink_to(target)


def clear(pfs: Path) -> None:
    """Empties the folder, whatever a process left in it."""
    pfs.mkdir(parents=True, exist_ok=True)
    for entry in pfs.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
