"""One file of a web server, as a source; signed URLs are among them, so no message shows a query."""

import codecs
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from runtime.errors import AnswermillError
from runtime.quoting import safe_url, without_secrets
from stages.common.names import is_table
from stages.ingesting.source import TRIES, Advance, Listing, SourceObject

if TYPE_CHECKING:
    from requests import Response

BLOCK = 1 << 20
_PAGES = ("text/html", "application/xhtml+xml")
# These are told by their first bytes, or are no packing at all.
_KNOWN = ("", "identity", "gzip", "x-gzip", "zstd")


class WebSource:
    """The file at an http(s) URL, named after the last part of its path; a `stages.ingesting.source.Source`."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        try:
            self._name = unquote(urlsplit(url).path.rpartition("/")[2])
        except ValueError as error:
            raise AnswermillError(f"{safe_url(url)}: {without_secrets(str(error), url)}; check the URL") from error

    def list(self, wanted: Callable[[str], bool]) -> Listing:
        """As `Source.list`. A server's folders have no listing that could be relied on."""
        if not self._name or not (wanted(self._name) or not is_table(self._name)):
            raise AnswermillError(
                f"{safe_url(self._url)}: a folder, not a file; give the URL of one file, as in https://host/folder/a.csv"
            )
        with self._get() as response:
            return Listing({self._name: self._state_of(response)})

    def fetch(self, item: SourceObject, file: BinaryIO, advance: Advance) -> SourceObject | None:
        """As `Source.fetch`. A file is whole if it is as long as the server said, or if its last chunk has come."""
        from urllib3.exceptions import HTTPError

        problem = ""
        for _ in range(TRIES):
            file.seek(0)
            file.truncate()
            with self._get() as response:
                state = self._state_of(response)
                try:
                    # Not decoded: some servers say that they pack and do not.
                    for block in response.raw.stream(BLOCK, decode_content=False):
                        if not file.tell():
                            self._check_packing(response, block)
                        file.write(block)
                        advance(len(block))
                except HTTPError as error:
                    problem = type(error).__name__
                    advance(-file.tell())
                    continue
                if "Content-Length" not in response.headers and not response.raw.chunked:
                    logging.warning(
                        "%s: the server does not say how long it is, so a part that is missing would not be noticed; "
                        "check the number of rows",
                        safe_url(self._url),
                    )
                return state
        raise AnswermillError(f"{safe_url(self._url)}: it arrived incomplete {TRIES} times ({problem}); try again")

    def _check_packing(self, response: "Response", head: bytes) -> None:
        """Raises AnswermillError for what a server packs, though asked not to, in a way that is not known here."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _KNOWN and not _is_text(head):
            raise AnswermillError(
                f"{safe_url(self._url)}: the server packs it (Content-Encoding: {encoding[:20]}), though asked not to; "
                "download it with a browser, and give the path of the file"
            )

    def _get(self) -> "Response":
        """The server's answer, of which the body is still to come."""
        import requests

        # It logs the URL with its query, and a traceback, if a header of the answer is damaged.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        try:
            # Bytes as they are stored: an archive is told by its first bytes.
            response = requests.get(
                self._url, stream=True, timeout=self._timeout, headers={"Accept-Encoding": "identity"}
            )
        except requests.RequestException as error:
            # Its text holds the URL with the query.
            raise AnswermillError(
                f"{safe_url(self._url)}: {type(error).__name__}; check the URL, or try again"
            ) from None
        if not response.ok:
            response.close()
            remedy = "check the URL; a signed one may have expired" if response.status_code < 500 else "try again"
            raise AnswermillError(f"{safe_url(self._url)}: the server says {response.status_code}; {remedy}")
        if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() in _PAGES:
            response.close()
            raise AnswermillError(
                f"{safe_url(self._url)}: a web page, not a table; give the URL of the file itself, signed if need be"
            )
        return response

    def _state_of(self, response: "Response") -> SourceObject:
        size = response.headers.get("Content-Length", "")
        version = response.headers.get("ETag", "")
        # A weak one may stay the same when bytes change.
        strong = version if version.startswith('"') else ""
        return SourceObject(safe_url(self._url), int(size) if size.isdecimal() else 0, strong)


def _is_text(head: bytes) -> bool:
    """Whether a file that begins so is in UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head
