"""What a message may show of a URL."""

from urllib.parse import urlsplit, urlunsplit


def safe_url(url: str) -> str:
    """The URL without user info, query and fragment, where passwords and signatures stand."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
