"""Which paths a repo takes: printable ASCII without the characters of globs."""

import re
from collections.abc import Iterable

_PRINTABLE = re.compile(r"[ -~]+")
_GLOB = re.compile(r"[*?\[\]{}!()@+^]")


def path_problem(path: str) -> str | None:
    """Why a repo refuses the path of a file, or None."""
    if not _PRINTABLE.fullmatch(path):
        return "only printable ASCII is allowed"
    if character := _GLOB.search(path):
        return f"{character[0]} is a character of globs"
    if any(part in (".", "..") for part in path.split("/")):
        return "a part is . or .."
    return None


def collision(paths: Iterable[str]) -> str | None:
    """A path that is a file and, by another path, a folder too; None if there is none."""
    files = set(paths)
    for path in sorted(files):
        parts = path.split("/")
        for depth in range(2, len(parts)):
            if (folder := "/".join(parts[:depth])) in files:
                return folder
    return None
