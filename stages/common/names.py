"""Names of objects -> paths below OUTPUT that the file systems downstream can hold, no two alike.

Pachyderm takes printable ASCII without glob characters; its glob `/**.csv` tells upper from lower case and matches
folders too, so every file must end in `.csv` and no folder may. What does not fit is percent-encoded, `%` included, so
that different objects stay different.
"""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import PurePath, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

REJECTED = "rejected"
# What ingest says of its OUTPUT, for later stages.
LISTING = "listing.json"
PARTS = ".parts"

_FORBIDDEN = frozenset("*?[]{}!()@+^%\\")
# File systems hold 255 bytes a name; `.parts` and `.json` are still to come. A longer name goes on in a folder.
_LONGEST, _CHUNK = 240, 200
_CONTINUED = "%~"
# Bytes of the longest name that a file system holds, and the end of a folder with the first half of a longer one.
_MOST, _HALVED = 255, "%-"
_PACKED = r"(\.(gz|bz2|xz|zst|zip))?"
_FORMATS = {
    "csv": re.compile(rf"\.(csv|tsv){_PACKED}\Z|(?<!\.ndjson)(?<!\.jsonl)\.zip\Z", re.IGNORECASE),
    "parquet": re.compile(r"\.(parquet|pq)\Z", re.IGNORECASE),
    "ndjson": re.compile(rf"\.(ndjson|jsonl){_PACKED}\Z", re.IGNORECASE),
}
FORMATS = tuple(_FORMATS)
# Paths in which nothing is encoded; the whole of `origin_of` is a tenth of what a file of one row costs `load`.
_PLAIN = re.compile(r"(?:[\w-]+/)*[\w-]+\.csv", re.ASCII)
_PART = re.compile(r"(.+)\.parts/row-(\d{10,})\.csv", re.DOTALL)


class Origin(NamedTuple):
    """Where a CSV's rows come from: the object's own name, and the 1-based data row in it that is the CSV's first."""

    file: str
    first_row: int


def is_table(name: str, formats: Collection[str] = FORMATS) -> bool:
    """Whether an object of this name is to be mirrored, as one of the formats; in any case of letters."""
    return format_of(name) in formats


def format_of(name: str) -> str | None:
    """`csv` for `a.csv`, `a.tsv.gz` and `a.zip`, `parquet` for `a.parquet`, `ndjson` for `a.jsonl`; None for others."""
    return next((kind for kind, pattern in _FORMATS.items() if pattern.search(name)), None)


def target_path(name: str) -> str:
    """Where the object goes if it is one file.

    `a b.csv` -> `a b.csv`, `é/x*.csv` -> `%C3%A9/x%2A.csv`, `a.csv.gz` -> `a.csv.gz.csv`.
    """
    *folders, file = name.split("/")
    folders = [_folder(_segment(folder)) for folder in folders]
    if folders and folders[0] == REJECTED:
        folders[0] = _escape(folders[0][0]) + folders[0][1:]
    return "/".join(map(_in_chunks, [*folders, _file(file)]))


def enumeration(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def part_path(name: str, first_row: int) -> str:
    """Where the part of a large object goes that begins with data row `first_row`.

    The first part has the whole object's path, so an object that grows adds parts and moves none:
    `a.csv`, 1 -> `a.csv`; `a.csv`, 5001 -> `a.csv.parts/row-0000005001.csv`.
    """
    path = target_path(name)
    return path if first_row == 1 else f"{path}{PARTS}/row-{first_row:010d}.csv"


def rejection_path(name: str) -> str:
    """Where the reason goes if the object is rejected: `a.csv` -> `rejected/a.csv.json`."""
    return note_path(target_path(name))


def note_path(path: str) -> str:
    """Where the note about the CSV at `path` goes."""
    return f"{REJECTED}/{with_suffix(path, '.json')}"


def subject(path: str) -> str:
    """The path of the CSV that a note is about; any other path as it is."""
    is_note = path.startswith(f"{REJECTED}/") and path.endswith(".json")
    return _without_suffix(path[len(REJECTED) + 1 :], ".json") if is_note else path


def with_suffix(path: str, suffix: str) -> str:
    """The path with a suffix; where a file system could not hold its name, as a name in a folder.

    Names that ingest gives are short enough. Others have up to 255 bytes, and the `.json` of a note failed the run.
    """
    folders, slash, name = path.rpartition("/")
    if len(os.fsencode(name + suffix)) > _MOST:
        middle = len(name) // 2
        name = f"{name[:middle]}{_HALVED}/-{name[middle:]}"
    return f"{folders}{slash}{name}{suffix}"


def _without_suffix(path: str, suffix: str) -> str:
    """The inverse of `with_suffix`."""
    plain = path.removesuffix(suffix)
    first, cut, second = plain.rpartition(f"{_HALVED}/-")
    return first + second if cut and with_suffix(first + second, suffix) == path else plain


def origin_of(path: str) -> Origin:
    """The inverse of `part_path`. A path that it cannot have made is the name of a file that never was renamed."""
    if _PLAIN.fullmatch(path):
        return Origin(path, 1)
    part = _PART.fullmatch(path)
    whole, first_row = (part[1], int(part[2])) if part else (path, 1)
    joined = re.sub(f"{_CONTINUED}/~", "", whole)
    decoded = "/".join(map(_decode, joined.split("/")))
    for name in (decoded, decoded.removesuffix(".csv")):
        if part_path(name, first_row) == path:
            return Origin(name, first_row)
    return Origin(path, 1)


def path_end(path: PurePath) -> str:
    """The end of a path that names one object or part, where it is not known below which folder the path begins.

    `data/a.csv` -> `a.csv`, `data/a.csv.parts/row-0000005001.csv` -> `a.csv.parts/row-0000005001.csv`.
    """
    *folders, end = path.parts
    for folder in reversed(folders):
        is_part = folder.endswith(PARTS) and _PART.fullmatch(f"{folder}/{end}")
        if not is_part and not (folder.endswith(_CONTINUED) and end.startswith("~")):
            break
        end = f"{folder}/{end}"
    return end


def _decode(segment: str) -> str:
    if segment == _escape("/"):
        return ""
    return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def utf8(name: str) -> str:
    r"""The name as a database can hold it: bytes that are not UTF-8 as `\xe9`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _segment(name: str) -> str:
    if not name:
        # Buckets tell `a//b` from `a/b`. No other segment holds an encoded slash.
        return _escape("/")
    encoded = "".join(_escape(char) if char in _FORBIDDEN or not " " <= char <= "~" else char for char in name)
    # Hidden names, `.` and `..` among them, are passed over by the later stages or mean something else.
    return _escape(".") + encoded[1:] if encoded.startswith(".") else encoded


def _folder(segment: str) -> str:
    stem, suffix = PurePosixPath(segment).stem, PurePosixPath(segment).suffix
    if suffix.lower() in (".csv", ".json", PARTS):
        return f"{stem}{_escape('.')}{suffix[1:]}"
    return segment


def _file(name: str) -> str:
    """The name as a segment that ends in `.csv`: `a.CSV` -> `a.CSV.csv`, and so `a.CSV.csv` -> `a.CS%56.csv`."""
    stem = name.removesuffix(".csv")
    if stem in (name, ""):
        return f"{_segment(name)}.csv"
    if is_table(stem) and _file(stem) != _segment(stem):
        return f"{_segment(stem[:-1])}{_escape(stem[-1])}.csv"
    return _segment(name)


def _in_chunks(segment: str) -> str:
    """A name that is too long as folders in folders. `%~` encodes nothing, and `~` keeps a chunk from being hidden."""
    chunks = []
    while len(segment) > _LONGEST:
        chunks.append(segment[:_CHUNK])
        segment = segment[_CHUNK:]
    return f"{_CONTINUED}/~".join([*chunks, segment])


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
