"""Keeps secrets out of what the runner writes down: results, jobs, logs."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote

_MASK = "***"
# `scheme://user:password@`, and what signs a URL.
_USER_INFO = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")
_SIGNATURE = re.compile(r"(?i)([?&](?:[\w-]*signature|[\w-]*credential|[\w-]*token|sig)=)[^&\s'\"]+")
_PASSWORD_FIELD = re.compile(r"(?i)\bpassword\s*=\s*('[^']*'|[^\s&]+)")
_NAMES = re.compile(r"(?i)pass|secret|token|key|credential|database_url|dsn|auth")
# A shorter value stands in ordinary words too, which would then be cut to pieces.
_SHORTEST = 6


class Redaction:
    """Replaces the secrets of one pipeline in texts and files."""

    def __init__(self, environment: Mapping[str, str], values: Iterable[str] = ()) -> None:
        """`environment` is the processes'; `values` are secrets whatever their variables are called."""
        secrets = {value for name, value in environment.items() if _NAMES.search(name) and not _is_path(value)}
        secrets |= set(values) | {word for value in [*secrets] for word in _passwords(value)}
        secrets |= {line.strip() for value in secrets for line in value.splitlines()}
        self._secrets = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with every secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _SIGNATURE.sub(rf"\1{_MASK}", _USER_INFO.sub(_MASK, text))

    def content(self, content: bytes) -> bytes:
        """Bytes of a log, masked."""
        return self.text(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def file(self, path: Path) -> None:
        """Masks a log in its place."""
        try:
            before = path.read_bytes()
        except FileNotFoundError:
            return
        if (after := self.content(before)) != before:
            path.write_bytes(after)


def _is_path(value: str) -> bool:
    return value.startswith("/") and "\n" not in value


def _passwords(value: str) -> Iterable[str]:
    for match in _USER_INFO.finditer(value):
        password = match[0].partition(":")[2]
        yield from (password, unquote(password))
    for match in _PASSWORD_FIELD.finditer(value):
        yield match[1].strip("'")
