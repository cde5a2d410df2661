"""What a message may quote: the one place that keeps secrets out of errors, logs and what is reported to a cluster.

People paste a key where its path belongs, and put passwords into URLs. So a variable that holds a credential is named
and never quoted; one that holds the path of a credential is quoted only if it is such a path beyond doubt.
"""

import re
from pathlib import Path

# Variables whose value is the credential itself.
CREDENTIALS = frozenset({"DATABASE_URL", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PACH_TOKEN"})
# Variables whose value is the path of a file that holds one.
CREDENTIAL_FILES = frozenset(
    {"GOOGLE_APPLICATION_CREDENTIALS", "PGPASSFILE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT"}
)
PATH_REMEDY = "this variable is the path of a file: save the content in a file, and name that file here"

HIDDEN = "…"
_LONGEST = 200
# Not within an IPv6 address.
_CHAIN = re.compile(r"::(?![0-9a-fA-F:.]*\])")
_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*")
_PORT = re.compile(r"\[[0-9a-fA-F:.]+\](:\d*)?|[^:\[\]]*(:\d*)?")


def safe_url(url: str) -> str:
    """The URL without user info, query and fragment, where passwords and signatures stand; a plain path as it is.

    Each part of a chained URL (`zip://a.zip::https://host/b.zip`) is treated alike. What does not come apart into host
    and path, as after a password with a raw `/`, is left out.
    """
    if "://" not in url:
        return _cut(url)
    return _cut("::".join(_safe_part(part) for part in _CHAIN.split(url)))


def quoted_path(variable: str, value: str) -> str:
    """`NAME (/the/path)` for a message; `NAME` alone where the value is a secret, or may be one."""
    if variable in CREDENTIALS or (variable in CREDENTIAL_FILES and not is_path(value)):
        return variable
    return f"{variable} ({_cut(value)})"


def is_path(value: str) -> bool:
    """Whether the value of a variable is the path of a file beyond doubt: the file, or a folder for it, is there.

    A line of a key in base64 has slashes too, and may begin with one, so the root folder proves nothing.
    """
    path = Path(value)
    try:
        is_below_root = path.is_absolute() and path.parent != Path(path.anchor)
        return path.is_file() or (is_below_root and path.parent.is_dir())
    except (OSError, ValueError):
        # Longer than a name may be, or with a NUL in it.
        return False


def _safe_part(part: str) -> str:
    scheme, separator, rest = part.partition("://")
    if not separator:
        return part if _PROTOCOL.fullmatch(part) or (part.startswith("/") and "@" not in part) else HIDDEN
    if not _PROTOCOL.fullmatch(scheme.lower()):
        return HIDDEN
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    # A `?` before the `@` is a raw one in a password, or an `@` in a query; a colon without a number is a password's.
    if (at and "?" in user) or not _PORT.fullmatch(re.split("[?#]", host)[0]):
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://" + re.split("[?#]", f"{host}{slash}{path}")[0]


def _cut(text: str) -> str:
    line = text.partition("\n")[0].rstrip("\r")
    if line == text and len(text) <= _LONGEST:
        return text
    return f"{line[:_LONGEST]}{HIDDEN}"
