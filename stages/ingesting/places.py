"""Which source a URL names."""

import re
from pathlib import Path

from runtime.errors import OptionError
from runtime.quoting import safe_url
from stages.ingesting.folder import FolderSource
from stages.ingesting.source import Source

_BUCKET = re.compile("[A-Za-z0-9._-]+")


def open_source(url: str, timeout: float, follow_links: bool = False, user_project: str | None = None) -> Source:
    """The source that a URL names; a path without a protocol is a local one. Raises OptionError for no bucket's name.

    Args:
        url: what to mirror.
        timeout: seconds without a byte, for gs:// and http(s)://.
        follow_links: whether links may lead out of a local folder.
        user_project: the project that pays for requests to a bucket whose owner does not.

    """
    protocol, _, path = url.partition("://")
    if protocol in ("gs", "gcs"):
        if not _BUCKET.fullmatch(path.partition("/")[0]):
            raise OptionError(f"{safe_url(url)}: it names no bucket; write gs://BUCKET/PREFIX, or gs://BUCKET")
        from stages.ingesting.gcs import GcsSource

        return GcsSource(url, timeout, user_project)
    if protocol in ("http", "https") and path:
        from stages.ingesting.web import WebSource

        return WebSource(url, timeout)
    if protocol in ("file", "local") and path:
        return FolderSource(Path(path), follow_links)
    if "://" in url or "::" in url:
        from stages.ingesting.fsspecs import FsspecSource

        return FsspecSource(url)
    return FolderSource(Path(url), follow_links)
