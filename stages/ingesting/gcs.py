"""Google Cloud Storage: listings that are complete, and downloads checked by the bucket's own checksum.

gcsfs brings credentials, connections and the repetition of failed requests. Its own `get` checks nothing (gcsfs#403),
so objects are read here in ranges of one generation, and their CRC-32C is taken as the bytes arrive.
"""

import base64
import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from runtime.errors import AnswermillError
from runtime.quoting import PATH_REMEDY, quoted_path
from stages.common.clients import calm_gcsfs
from stages.ingesting.source import TRIES, Advance, Listing, SourceObject

if TYPE_CHECKING:
    from gcsfs import GCSFileSystem

# Bytes of one request: what a broken connection costs, and with the connections' number what memory it takes.
RANGE = 8 << 20
# A bucket in which objects come and go is listed at most so often.
LISTINGS = 5
CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"
# What a reply raises that was damaged on the way: listings have no checksum.
_GARBLED = (ValueError, LookupError, TypeError, AttributeError)
FIELDS = "name,size,generation,crc32c"


T = TypeVar("T")


class GcsSource:
    """The objects below `gs://bucket/prefix`; a `stages.ingesting.source.Source`."""

    def __init__(self, url: str, timeout: float, user_project: str | None = None) -> None:
        self._url = url
        self._bucket, _, self._key = url.partition("://")[2].partition("/")
        calm_gcsfs()
        with self._one_line_errors(url):
            self._system = connect(timeout, user_project)

    def list(self, wanted: Callable[[str], bool]) -> Listing:
        """As `Source.list`.

        Two listings must agree: objects that come and go between a listing's pages, and a listing that is damaged on
        the way, would otherwise show as objects that are not there.
        """
        earlier: Listing | None = None
        for _ in range(LISTINGS):
            listing = self._list(wanted)
            if listing == earlier:
                return listing
            earlier = listing
        logging.warning("%s: objects change while they are listed; taking the last of %d listings", self._url, LISTINGS)
        return listing

    def fetch(self, item: SourceObject, file: BinaryIO, advance: Advance) -> SourceObject | None:
        """As `Source.fetch`. A file is whole if it has the size and checksum of its generation in the bucket."""
        state: SourceObject | None = item
        for _ in range(TRIES):
            if state is None:
                return None
            file.seek(0)
            file.truncate()
            with contextlib.suppress(FileNotFoundError):
                if self._copy(state, file, advance):
                    return state
            advance(-file.tell())
            state = self._look_up(item.key)
        raise AnswermillError(
            f"gs://{self._bucket}/{item.key}: {TRIES} times it was replaced while it was read, or arrived with "
            "another checksum than the bucket's; try again"
        )

    def _list(self, wanted: Callable[[str], bool]) -> Listing:
        """One listing. An object that is named like the prefix counts only where nothing lies below the prefix."""
        prefix = f"{self._key}/" if self._key and not self._key.endswith("/") else self._key
        objects: dict[str, SourceObject] = {}
        others, token, tokens = 0, None, set[str]()
        with self._one_line_errors(self._url):
            while True:
                page, token = self._ask(
                    lambda reply: ([_object(item) for item in reply.get("items", ())], reply.get("nextPageToken")),
                    "b/{}/o",
                    self._bucket,
                    prefix=prefix or None,
                    pageToken=token,
                    fields=f"nextPageToken,items({FIELDS})",
                )
                chosen = {item.key.removeprefix(prefix): item for item in page if wanted(item.key)}
                objects |= chosen
                others += len(page) - len(chosen)
                if not token:
                    break
                if token in tokens:
                    raise AnswermillError(f"{self._url}: the pages of its listing never end; try again without a proxy")
                tokens.add(token)
        if prefix and not objects and not others:
            if prefix != self._key and (one := self._look_up(self._key)):
                return Listing({self._key.rsplit("/", 1)[-1]: one})
            raise AnswermillError(f"{self._url}: no such object or prefix; check the bucket and the spelling")
        return Listing(dict(sorted(objects.items())), others)

    def _look_up(self, key: str) -> SourceObject | None:
        try:
            with self._one_line_errors(f"gs://{self._bucket}/{key}", missing=None):
                return self._ask(_object, "b/{}/o/{}", self._bucket, key, fields=FIELDS)
        except FileNotFoundError:
            return None

    def _copy(self, item: SourceObject, file: BinaryIO, advance: Advance) -> bool:
        """Whether the bytes that came are those of the object; FileNotFoundError if it is gone or replaced."""
        import google_crc32c

        if not item.checksum:
            raise AnswermillError(
                f"gs://{self._bucket}/{item.key}: the bucket gives no CRC-32C for it, so it cannot be checked; "
                "if it is encrypted with a key of your own, store it without one"
            )
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        for start in range(0, item.size, RANGE):
            stop = min(start + RANGE, item.size)
            with self._one_line_errors(f"gs://{self._bucket}/{item.key}", missing=None):
                _, block = self._system.call(
                    "GET",
                    "b/{}/o/{}",
                    self._bucket,
                    item.key,
                    alt="media",
                    generation=item.version,
                    # Gzipped objects come as they are stored, which is what their checksum is of.
                    headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"},
                )
            if len(block) != stop - start:
                return False
            checksum.update(block)
            file.write(block)
            advance(len(block))
        return base64.b64encode(checksum.digest()).decode() == item.checksum

    def _ask(self, read: Callable[[Any], T], path: str, *names: str, **query: str | None) -> T:
        """What `read` makes of a JSON reply. Replies have no checksum; one that is garbled is asked for again."""
        headers = {"Accept-Encoding": "identity"}
        for tries_left in reversed(range(TRIES)):
            _, text = self._system.call("GET", path, *names, headers=headers, **query)
            try:
                return read(json.loads(text))
            except _GARBLED:
                if not tries_left:
                    raise
        raise AssertionError("TRIES is at least 1")

    @contextlib.contextmanager
    def _one_line_errors(self, location: str, missing: str | None = "no such bucket") -> Iterator[None]:
        """Turns what the many layers below raise into one line; lets FileNotFoundError pass if `missing` is None."""
        from aiohttp import ClientError
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        try:
            yield
        except FileNotFoundError as error:
            if missing is None:
                raise
            raise AnswermillError(f"{location}: {missing}; check the spelling") from error
        except (HttpError, ClientError, GoogleAuthError, RequestException, OSError, *_GARBLED) as error:
            raise AnswermillError(f"{location}: {_remedy(error)}") from error


def connect(timeout: float, user_project: str | None = None) -> "GCSFileSystem":
    """A client with the credentials that the environment names; `timeout` is in seconds without a byte.

    GOOGLE_APPLICATION_CREDENTIALS if it is set, nothing for STORAGE_EMULATOR_HOST, else application default
    credentials, and the public's rights if there are none. Raises AnswermillError for a credentials file that is
    none.
    """
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    # It logs the traceback of what it then raises.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
    token = None
    if path := os.environ.get(CREDENTIALS):
        check_key_file(path)
        token = "google_default"  # noqa: S105 - the name of a method
    elif os.environ.get("STORAGE_EMULATOR_HOST"):
        token = "anon"  # noqa: S105 - the name of a method
    # No limit on the whole: a timeout of that kind is not repeated by gcsfs, one of the socket is.
    limits = ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
    return GCSFileSystem(
        token=token,
        access="read_only",
        use_listings_cache=False,
        skip_instance_cache=True,
        requests_timeout=limits,
        session_kwargs={"auto_decompress": False},
        requester_pays=user_project or False,
    )


def check_key_file(path: str) -> None:
    """Raises AnswermillError unless the variable's value is the path of a JSON file; never quotes a pasted key."""
    shown = quoted_path(CREDENTIALS, path)
    try:
        fields = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and shown != CREDENTIALS else "not a JSON file"
        raise AnswermillError(f"{shown}: {reason}; {PATH_REMEDY}") from error
    if not isinstance(fields, dict) or "type" not in fields:
        raise AnswermillError(
            f'{shown}: a JSON file without a "type", so not a key; create a key of the service account, save it as a '
            "file and set the variable to its path"
        )
    # Where the login is sent; what asks there calls a place that makes no sense a passing fault.
    if "token_uri" in fields and not re.match("https?://[^/]", str(fields["token_uri"])):
        raise AnswermillError(f"{shown}: its token_uri is no URL; create a new key and save it there")


def _object(item: Mapping[str, str]) -> SourceObject:
    return SourceObject(item["name"], int(item["size"]), item["generation"], item.get("crc32c", ""))


def _remedy(error: Exception) -> str:
    """The error's text, and what to do about it."""
    from google.auth.exceptions import GoogleAuthError, TransportError

    text = " ".join(str(error).split()) or type(error).__name__
    code = str(getattr(error, "code", ""))
    lowered = text.lower()
    if "requester pays" in lowered or "user project" in lowered:
        return f"{text}; name the project that pays for the requests, as in --user-project my-project"
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return f"{text}; check {CREDENTIALS}, or run `gcloud auth application-default login`"
    if code in ("401", "403") or text.startswith("Forbidden") or "credential" in lowered:
        return f"{text}; check {CREDENTIALS}, or run `gcloud auth application-default login`"
    if os.environ.get(CREDENTIALS) and isinstance(error, TransportError):
        return f"{text}; check the network, and the token_uri in the file that {CREDENTIALS} names"
    if os.environ.get(CREDENTIALS) and isinstance(error, _GARBLED) and not code:
        # The key's own bytes do not parse. What the parser says is of no use, and might quote them.
        return f"the key in the file that {CREDENTIALS} names is damaged; create a new key and save it there"
    return f"{text}; try again"
