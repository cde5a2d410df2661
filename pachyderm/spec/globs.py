"""Pachyderm's globs: which files and folders of a commit are datums.

A glob is matched against every file and every folder that files imply, folders with a `/` at the end of their path.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from pachyderm.errors import PachydermError

_GROUPS = {"@": "", "*": "*", "+": "+", "?": "?"}


def clean(path: str) -> str:
    """An absolute path without a slash at its end: `a/b/` -> `/a/b`, nothing -> `/`."""
    return "/" + "/".join(part for part in path.split("/") if part)


def entries(files: Iterable[str]) -> list[str]:
    """The files and the folders they imply, `/` among them if there is any file, in Pachyderm's order."""
    every = set(files)
    for file in list(every):
        parts = file.split("/")
        every.update("/".join(parts[:depth]) + "/" for depth in range(1, len(parts)))
    return sorted(every, key=str.encode)


def matches(glob: str, files: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Each entry that the glob matches, with what its groups captured, in order. Raises PachydermError."""
    pattern = clean(glob)
    if pattern == "/":
        return [(entry, ()) for entry in entries(files) if entry == "/"]
    compiled = compile_glob(pattern)
    matched = ((entry, compiled.fullmatch(entry.rstrip("/"))) for entry in entries(files) if entry != "/")
    return [(entry, tuple(group or "" for group in match.groups())) for entry, match in matched if match]


@lru_cache(256)
def compile_glob(glob: str) -> re.Pattern[str]:
    """The glob as a regular expression for whole paths. Raises PachydermError if it is none."""
    text, end = _sequence(clean(glob), 0, "")
    if end < len(clean(glob)):
        raise PachydermError(f"glob {glob}: {clean(glob)[end]} closes nothing; write \\ before it")
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise PachydermError(f"glob {glob}: {error}") from error


def _sequence(glob: str, at: int, closing: str) -> tuple[str, int]:
    """The expression for what stands from `at` to the closing bracket, and where that bracket is."""
    out: list[str] = []
    while at < len(glob):
        char, after = glob[at], glob[at + 1 : at + 2]
        if char in "!^" and after == "(":
            raise PachydermError(f"glob {glob}: {char}( ) is not supported here; write what should match instead")
        if char in "@*+?" and after == "(":
            inner, at = _bracket(glob, at + 2, ")")
            out.append(f"((?:{inner}){_GROUPS[char]})")
        elif char == "(":
            inner, at = _bracket(glob, at + 1, ")")
            out.append(f"({inner})")
        elif char == "{":
            inner, at = _bracket(glob, at + 1, "}")
            out.append(f"(?:{inner})")
        elif char in ")}":
            return "".join(out), at
        elif (closing == "}" and char == ",") or (closing == ")" and char == "|"):
            out.append("|")
            at += 1
        else:
            part, at = _single(glob, at)
            out.append(part)
    return "".join(out), at


def _bracket(glob: str, at: int, closing: str) -> tuple[str, int]:
    inner, end = _sequence(glob, at, closing)
    if glob[end : end + 1] != closing:
        raise PachydermError(f"glob {glob}: a bracket opens and {closing} is missing")
    return inner, end + 1


def _single(glob: str, at: int) -> tuple[str, int]:
    """The expression for one wildcard, class, escape or plain character."""
    char = glob[at]
    if glob.startswith("**", at):
        return ".*", at + 2
    if char == "*":
        return "[^/]*", at + 1
    if char == "?":
        return "[^/]", at + 1
    if char == "\\":
        if at + 1 == len(glob):
            raise PachydermError(f"glob {glob}: nothing follows the \\ at its end")
        return re.escape(glob[at + 1]), at + 2
    if char == "[":
        return _class(glob, at)
    return re.escape(char), at + 1


_POSIX = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "punct": r"!-/:-@\[-`{-~",
    "xdigit": "0-9a-fA-F",
    "word": r"\w",
}


def _class(glob: str, at: int) -> tuple[str, int]:
    match = re.compile(r"\[([!^]?)(\]?)((?:\[:\w+:\]|\\.|[^\]\\])*)\]").match(glob, at)
    if match is None or not (match[2] or match[3]):
        raise PachydermError(f"glob {glob}: [ opens a class that is empty or does not close")
    # A bracket that comes first is one of the characters, and closes nothing.
    negated, bracket, body = match.groups()
    for name in re.findall(r"\[:(\w+):\]", body):
        if name not in _POSIX:
            raise PachydermError(f"glob {glob}: no such class as [:{name}:]; there are {', '.join(_POSIX)}")
    parts = re.split(r"(\[:\w+:\])", body)
    inner = "".join(_POSIX[part[2:-2]] if part.startswith("[:") else part.replace("[", r"\[") for part in parts)
    return f"[{'^' if negated else ''}{re.escape(bracket)}{inner}]", match.end()
