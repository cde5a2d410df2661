"""One datum's /pfs: its files, an empty `out`, `.env`; a fresh one for every try.

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

from pachyderm.local.datums import Datum, DatumInput


@dataclass(frozen=True, slots=True)
class Scratch:
    """A datum laid out.

    Attributes:
        out: the link through which the user's code writes.
        link: where it leads.
        folder: that folder.
        inputs: the files that were put there.
        originals: for files that are laid out empty, where their content is.
        environment: the variables that only this datum has.

    """

    out: Path
    link: Path
    folder: Path
    inputs: tuple[Path, ...]
    originals: Mapping[Path, Path]
    environment: Mapping[str, str]

    def is_intact(self) -> bool:
        """Whether what the link leads to is still the folder that was given."""
        try:
            given = self.out.readlink() == self.link
        except OSError:
            return False
        return given and not self.folder.is_symlink() and self.folder.is_dir()


class Layout:
    """The /pfs of one worker: the folder `pfs`, which its processes see as `seen_as`."""

    def __init__(self, pfs: Path, seen_as: Path) -> None:
        self._pfs = pfs
        self._seen_as = seen_as
        self._last: Scratch | None = None

    def lay_out(self, datum: Datum) -> Scratch:
        """Puts a datum there, alone."""
        own = self._own_folder()
        out = own / "out"
        if not out.exists():
            self._link(out)
        inputs: list[Path] = []
        originals: dict[Path, Path] = {}
        environment: dict[str, str] = {}
        for datum_input in datum.inputs:
            folder = own / datum_input.name
            if not folder.exists():
                self._link(folder)
            for path in datum_input.files:
                target, source = folder / path[1:], datum_input.commit.path_of(path)
                if "/" in path[1:]:
                    target.parent.mkdir(parents=True, exist_ok=True)
                if datum_input.empty_files:
                    target.touch()
                    originals[target.resolve()] = source
                else:
                    shutil.copyfile(source, target)
                inputs.append(target)
            environment |= self._variables(datum_input)
        environment["PACH_DATUM_ID"] = datum.id
        link = out.relative_to(self._pfs)
        self._last = Scratch(self._pfs / "out", link, out, tuple(inputs), originals, environment)
        return self._last

    def clear(self) -> None:
        """Empties the folder, whatever a process left in it."""
        self._last = None
        self._pfs.mkdir(parents=True, exist_ok=True)
        for entry in self._pfs.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _own_folder(self) -> Path:
        """The datum's own folder: the last one's, if that is as it was given, because making folders costs 10 ms."""
        last, self._last = self._last, None
        if last is not None and self._take_back(last):
            return last.folder.parent
        self.clear()
        own = self._pfs / ".scratch" / uuid.uuid4().hex
        own.mkdir(parents=True)
        return own

    def _take_back(self, last: Scratch) -> bool:
        """Removes a datum's inputs. Returns whether nothing else is left."""
        own = last.folder.parent
        try:
            for path in last.inputs:
                path.unlink()
            folders = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(own)}
            own_alone = _names(self._pfs / ".scratch") == {own.name}
            linked = all((self._pfs / name).readlink() == (own / name).relative_to(self._pfs) for name in folders)
            empty = all(folders.values()) and not any(_names(own / name) for name in folders)
            alone = own_alone and _names(self._pfs) - {".env"} == {".scratch", *folders}
            return last.is_intact() and alone and linked and empty
        except OSError:
            return False

    def _link(self, folder: Path) -> None:
        """Makes a folder of the datum's, and the link at the top that leads to it."""
        folder.mkdir()
        (self._pfs / folder.name).symlink_to(folder.relative_to(self._pfs))

    def _variables(self, datum_input: DatumInput) -> dict[str, str]:
        variables = {
            datum_input.name: str(self._seen_as / datum_input.name / datum_input.path[1:].rstrip("/")),
            f"{datum_input.name}_COMMIT": datum_input.commit.id,
        }
        for variable, value in (("JOIN_ON", datum_input.join_on), ("GROUP_BY", datum_input.group_by)):
            if value:
                variables[f"PACH_DATUM_{datum_input.name}_{variable}"] = value
        return variables


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)}


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
