"""Names of objects -> paths below OUTPUT that the file systems downstream can hold, no two alike.

Pachyderm takes printable ASCII without glob characters; its glob `/**.csv` matches folders too, so no folder may end
in `.csv`. What does not fit is percent-encoded, `%` included, so that different objects stay different.
"""

from pathlib import PurePosixPath

REJECTED = "rejected"
PARTS = ".parts"

_FORBIDDEN = frozenset("*?[]{}!()@+^%\\")


def target_path(name: str) -> str:
    """Where the object goes if it is one file: `a b.csv` -> `a b.csv`, `é/x*.csv` -> `%C3%A9/x%2A.csv`."""
    *folders, file = (_segment(part) for part in name.split("/") if part)
    folders = [_folder(folder) for folder in folders]
    if folders and folders[0] == REJECTED:
        folders[0] = _escape(folders[0][0]) + folders[0][1:]
    return "/".join([*folders, file])


def part_path(name: str, index: int) -> str:
    """Where part `index`, from 0, of a large object goes: `a.csv` -> `a.csv.parts/part-00000.csv`."""
    return f"{target_path(name)}{PARTS}/part-{index:05d}.csv"


def rejection_path(name: str) -> str:
    """Where the reason goes if the object is rejected: `a.csv` -> `rejected/a.csv.json`."""
    return f"{REJECTED}/{target_path(name)}.json"


def _segment(part: str) -> str:
    encoded = "".join(_escape(char) if char in _FORBIDDEN or not " " <= char <= "~" else char for char in part)
    # Hidden names, `.` and `..` among them, are passed over by the later stages or mean something else.
    return _escape(".") + encoded[1:] if encoded.startswith(".") else encoded


def _folder(segment: str) -> str:
    stem, suffix = PurePosixPath(segment).stem, PurePosixPath(segment).suffix
    if suffix.lower() in (".csv", ".json", PARTS):
        return f"{stem}{_escape('.')}{suffix[1:]}"
    return segment


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
