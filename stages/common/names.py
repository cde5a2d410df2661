"""Names of objects -> paths below OUTPUT that the file systems downstream can hold, no two alike.

Pachyderm takes printable ASCII without glob characters; its glob `/**.csv` tells upper from lower case and matches
folders too, so every file must end in `.csv` and no folder may. What does not fit is percent-encoded, `%` included, so
that different objects stay different.
"""

import hashlib
import re
from pathlib import PurePosixPath

REJECTED = "rejected"
PARTS = ".parts"

_FORBIDDEN = frozenset("*?[]{}!()@+^%\\")
# File systems hold 255 bytes; `.parts` and `.json` are still to come.
_LONGEST = 240
_CSV = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)


def is_csv(name: str) -> bool:
    """Whether an object of this name is to be mirrored: `*.csv` and `*.csv.gz`, in any case."""
    return _CSV.search(name) is not None


def target_path(name: str) -> str:
    """Where the object goes if it is one file.

    `a b.csv` -> `a b.csv`, `é/x*.csv` -> `%C3%A9/x%2A.csv`, `a.csv.gz` -> `a.csv.gz.csv`.
    """
    *folders, file = name.split("/")
    folders = [_shorten(_folder(_segment(folder))) for folder in folders]
    if folders and folders[0] == REJECTED:
        folders[0] = _escape(folders[0][0]) + folders[0][1:]
    return "/".join([*folders, _shorten(_file(file), ".csv")])


def part_path(name: str, index: int) -> str:
    """Where part `index`, from 0, of a large object goes: `a.csv` -> `a.csv.parts/part-00000.csv`."""
    return f"{target_path(name)}{PARTS}/part-{index:05d}.csv"


def rejection_path(name: str) -> str:
    """Where the reason goes if the object is rejected: `a.csv` -> `rejected/a.csv.json`."""
    return f"{REJECTED}/{target_path(name)}.json"


def _segment(part: str) -> str:
    if not part:
        # Buckets tell `a//b` from `a/b`. No other segment holds an encoded slash.
        return _escape("/")
    encoded = "".join(_escape(char) if char in _FORBIDDEN or not " " <= char <= "~" else char for char in part)
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
    if is_csv(stem) and _file(stem) != _segment(stem):
        return f"{_segment(stem[:-1])}{_escape(stem[-1])}.csv"
    return _segment(name)


def _shorten(segment: str, suffix: str = "") -> str:
    """A name that is too long keeps its beginning, and a digest that no shorter name can hold: `%~` encodes nothing."""
    if len(segment) <= _LONGEST:
        return segment
    tail = f"%~{hashlib.sha256(segment.encode()).hexdigest()[:32]}{suffix}"
    return segment[: _LONGEST - len(tail)] + tail


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
