"""What a message may quote: the one place that keeps secrets out of errors, logs and what is reported to a cluster.

People paste a key where its path belongs, and put passwords into URLs. So a variable that holds a credential is named
and never quoted; one that holds the path of a credential is quoted only if it is such a path beyond doubt.
"""

import re
from pathlib import Path
from urllib.parse import unquote

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
_PORT = re.compile(r"\[[0-9a-fA-F:.]+\](:\d*)?|[^:\[\]@]*(:\d*)?")
# Of these the first part is a bucket or nothing; an `@` behind it belongs to the name of an object.
_BUCKETS = frozenset({"gs", "gcs", "s3", "s3a", "file", "local", "memory", "hf"})
# What cannot stand in user info unless it is percent-encoded: whoever writes it there has another URL than is meant.
_RAW = re.compile(r"[/?#\[\]\\\s]|::")


def safe_url(url: str) -> str:
    """The URL without user info, query and fragment, where passwords and signatures stand; a plain path as it is.

    Each part of a chained URL (`zip://a.zip::https://host/b.zip`) is treated alike. What cannot be split into user,
    host and path beyond doubt, as after a password with a raw `/`, is left out.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _cut(url)
    if not all(map(_PROTOCOL.fullmatch, scheme.lower().split("::"))):
        return HIDDEN
    hidden = f"{scheme}://{HIDDEN}"
    if "@" in rest and not _is_in_object_name(scheme, rest):
        user, _, rest = rest.rpartition("@")
        if _RAW.search(user):
            return hidden
    # Before the chain is split: a signature may hold `::` too.
    first, *others = _CHAIN.split(re.split("[?#]", rest)[0])
    if not _PORT.fullmatch(first.partition("/")[0]) or not all(map(_is_link, others)):
        return hidden
    return _cut("::".join([f"{scheme}://{first}", *others]))


def without_secrets(text: str, url: str) -> str:
    """An error's text about a URL, for a message that names the URL itself."""
    if safe_url(url).endswith(HIDDEN):
        # The text may hold any part of a password, as in "port could not be cast to integer value as 'pa'".
        return "the URL cannot be parsed; percent-encode @ : / ? # in its password"
    _, _, rest = url.partition("://")
    user = rest.partition("/")[0].rpartition("@")[0]
    query = "".join(re.split("[?#]", rest, maxsplit=1)[1:])
    secrets = {user, user.partition(":")[2], query, *(part.partition("=")[2] for part in re.split("[&#]", query))}
    text = text.replace(url, safe_url(url))
    for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _is_in_object_name(scheme: str, rest: str) -> bool:
    before = rest.rpartition("@")[0]
    return scheme.lower().split("::")[-1] in _BUCKETS and "@" not in rest.partition("/")[0] and ":" not in before


def _is_link(part: str) -> bool:
    """Whether this is a later part of a chain: a protocol, perhaps with a path."""
    scheme, separator, rest = part.partition("://")
    return bool(
        _PROTOCOL.fullmatch(scheme.lower()) and (not separator or _PORT.fullmatch(rest.partition("/")[0]))
    ) or part.startswith("/")


def quoted_path(variable: str, value: str) -> str:
    """`NAME (/the/path)` for a message; `NAME` alone if the value is a secret, or may be one."""
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


def _cut(text: str) -> str:
    line = text.partition("\n")[0].rstrip("\r")
    if line == text and len(text) <= _LONGEST:
        return text
    return f"{line[:_LONGEST]}{HIDDEN}"
