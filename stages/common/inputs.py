"""INPUT of a stage: its CSVs, each under the path that names its rows, however much of a folder is given."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OptionError
from stages.common.files import csv_files
from stages.common.listings import ingested_paths, listed_paths, listings_of
from stages.common.mirror import keeps_listing
from stages.common.names import LISTING


@dataclass(frozen=True, slots=True)
class Input:
    """The CSVs of INPUT.

    Attributes:
        files: where they are, by their names, in bytewise order.
        top: the folder of a stage that INPUT is a part of, if there is one.
        subpath: what INPUT holds below `top`, or is; "" for all of it. None for one CSV, whose name is in `files`.
        source: INPUT as it was given.

    """

    files: dict[str, Path]
    top: Path | None
    subpath: str | None
    source: Path

    @property
    def folder(self) -> str:
        """The folder that names are relative to."""
        return str(self.top or self.source)

    def covers(self, name: str) -> bool:
        """Whether a CSV of this name is gone if it is not in INPUT.

        One CSV says nothing of others, and a folder without any, such as the place of a disk that is not mounted, says
        nothing at all.
        """
        if self.subpath is None:
            return name in self.files
        return bool(self.files) and (not self.subpath or name.startswith(f"{self.subpath}/"))


def whole_input(source: Path) -> Input:
    """The CSVs at or below `source`, as `csv_files` gives them."""
    return Input(csv_files(source), None, "" if source.is_dir() else None, source)


def read_input(source: Path, output: Path, plain_names: bool = False) -> Input:
    """The CSVs at or below `source`, named as `named_input` does unless plain names are asked for.

    Raises what `csv_files` does, and OptionError if `output` is the folder that `source` is a part of.
    """
    given = whole_input(source) if plain_names else named_input(source)
    if given.top and output.resolve() == given.top.resolve():
        raise OptionError(f"OUTPUT ({output}) is the folder that INPUT ({source}) is a part of; choose another one")
    return given


def named_input(source: Path) -> Input:
    """The CSVs at or below `source`, named as below the folder that a stage wrote, if `source` is a part of one.

    `load answers/d/b.csv` and `load answers` must not file the same rows under two names. What no listing names has the
    name that `csv_files` gives it. Raises what `csv_files` does.
    """
    whole, is_folder = whole_input(source), source.is_dir()
    # The folder of a datum is its own.
    location = _find_top(source, is_folder) if keeps_listing() else None
    if location is None:
        return whole
    top, below = location
    named = {f"{below}/{path.relative_to(source).as_posix()}": path for path in whole.files.values()}
    files = dict(sorted(named.items())) if is_folder else {below: source}
    part = Input(files, top, below if is_folder else None, source)
    if [*part.files] != [*whole.files]:
        logging.info("%s is a part of %s: its rows are those of %s", source, top, below)
    return part


def _find_top(source: Path, is_folder: bool) -> tuple[Path, str] | None:
    """The folder with a listing that names what is at or below `source`, and the path of `source` below it."""
    for path in _spellings(source, is_folder):
        if is_folder and _has_listing(path):
            # The folder of a stage itself.
            return None
        for folder in path.parents:
            below = path.relative_to(folder).as_posix()
            names = _names_in(folder)
            if any(name.startswith(f"{below}/") for name in names) if is_folder else below in names:
                return folder, below
    return None


def _spellings(source: Path, is_folder: bool) -> list[Path]:
    """Absolute paths of a file or folder: as it was given, then without links, except that a file keeps its name."""
    given = source.absolute()
    real = source.resolve() if is_folder else given.parent.resolve() / given.name
    # Without its links, `..` may lead elsewhere.
    return [real] if ".." in given.parts or real == given else [given, real]


def _has_listing(folder: Path) -> bool:
    return bool(listings_of(folder)) or os.path.lexists(folder / LISTING)


def _names_in(folder: Path) -> set[str]:
    """Paths below the folder that a stage has noted there."""
    return listed_paths(folder) | ingested_paths(folder)
