"""Google Cloud Storage: listings that hold, and downloads with the bucket's own checksum.

gcsfs brings credentials, connections and the repetition of failed requests. Its own `get` checks nothing (gcsfs#403),
so objects are read here in ranges of one generation, and their CRC-32C is taken as the bytes arrive.
"""

import base64
import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from runtime.errors import AnswermillError
from stages.common.names import is_csv
from stages.ingesting.source import TRIES, Advance, Found

if TYPE_CHECKING:
    from gcsfs import GCSFileSystem

# Bytes of one request: what a broken connection costs, and with the connections' number what memory it takes.
RANGE = 8 << 20
# A bucket in which objects come and go is listed at most so often.
LISTINGS = 5
# What a reply raises that was damaged on the way: listings have no checksum.
_GARBLED = (ValueError, LookupError, TypeError, AttributeError)
FIELDS = "name,size,generation,crc32c,contentEncoding"


T = TypeVar("T")


class Bucket:
    """The objects below `gs://bucket/prefix`; a `stages.source.Source`."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._bucket, _, self._key = url.partition("://")[2].partition("/")
        # Read when gcsfs is imported: it asks for a bucket's type over gRPC, 60 s a call where nothing answers
        # (gcsfs#843).
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        with self._explained(url):
            self._system = connect(timeout)

    def find(self) -> dict[str, Found]:
        """As `Source.find`.

        Two listings must agree: objects that come and go between a listing's pages, and a listing that is damaged on
        the way, would otherwise show as objects that are not there.
        """
        earlier: dict[str, Found] | None = None
        for _ in range(LISTINGS):
            listing = self._list()
            if listing == earlier:
                return listing
            earlier = listing
        logging.warning("%s: objects change while they are listed; taking the last of %d listings", self._url, LISTINGS)
        return listing

    def fetch(self, found: Found, file: BinaryIO, advance: Advance) -> Found | None:
        """As `Source.fetch`. Whole is what has the size and the checksum that the bucket gives for its generation."""
        state: Found | None = found
        for _ in range(TRIES):
            if state is None:
                return None
            file.seek(0)
            file.truncate()
            with contextlib.suppress(FileNotFoundError):
                if self._copy(state, file, advance):
                    return state
            advance(-file.tell())
            state = self._look_up(found.place)
        raise AnswermillError(
            f"gs://{self._bucket}/{found.place}: {TRIES} times it was replaced while it was read, or arrived with "
            "another checksum than the bucket's; try again"
        )

    def _list(self) -> dict[str, Found]:
        key = self._key
        if key and not key.endswith("/"):
            if one := self._look_up(key):
                return {key.rsplit("/", 1)[-1]: one}
            key += "/"
        places: dict[str, Found] = {}
        token = None
        with self._explained(self._url):
            while True:
                page, token = self._ask(
                    lambda reply: ([_found(item) for item in reply.get("items", ())], reply.get("nextPageToken")),
                    "b/{}/o",
                    self._bucket,
                    prefix=key or None,
                    pageToken=token,
                    fields=f"nextPageToken,items({FIELDS})",
                )
                places |= {found.place: found for found in page}
                if not token:
                    break
        if key and not places:
            raise AnswermillError(f"{self._url}: no such object or prefix; check the bucket and the spelling")
        return {place.removeprefix(key): places[place] for place in sorted(places) if is_csv(place)}

    def _look_up(self, place: str) -> Found | None:
        try:
            with self._explained(f"gs://{self._bucket}/{place}", missing=None):
                return self._ask(_found, "b/{}/o/{}", self._bucket, place, fields=FIELDS)
        except FileNotFoundError:
            return None

    def _copy(self, found: Found, file: BinaryIO, advance: Advance) -> bool:
        """Whether the bytes that came are those of the object; FileNotFoundError if it is gone or replaced."""
        import google_crc32c

        if not found.checksum:
            raise AnswermillError(
                f"gs://{self._bucket}/{found.place}: the bucket gives no CRC-32C for it, so it cannot be checked; "
                "is it encrypted with a key of the customer's?"
            )
        checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        for start in range(0, found.size, RANGE):
            stop = min(start + RANGE, found.size)
            with self._explained(f"gs://{self._bucket}/{found.place}", missing=None):
                _, block = self._system.call(
                    "GET",
                    "b/{}/o/{}",
                    self._bucket,
                    found.place,
                    alt="media",
                    generation=found.version,
                    # Gzipped objects come as they are stored, which is what their checksum is of.
                    headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"},
                )
            if len(block) != stop - start:
                return False
            checksum.update(block)
            file.write(block)
            advance(len(block))
        return base64.b64encode(checksum.digest()).decode() == found.checksum

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
    def _explained(self, place: str, missing: str | None = "no such bucket") -> Iterator[None]:
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
            raise AnswermillError(f"{place}: {missing}; check the spelling") from error
        except (HttpError, ClientError, GoogleAuthError, RequestException, OSError, *_GARBLED) as error:
            raise AnswermillError(f"{place}: {_told(error)}") from error


def connect(timeout: float) -> "GCSFileSystem":
    """A client with the credentials that the environment names; `timeout` is in seconds without a byte.

    GOOGLE_APPLICATION_CREDENTIALS if it is set, nothing for STORAGE_EMULATOR_HOST, else application default
    credentials, and the public's rights where there are none.
    """
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    # It logs the traceback of what it then raises.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
    token = None
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
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
    )


def _found(item: Mapping[str, str]) -> Found:
    return Found(
        item["name"],
        int(item["size"]),
        item["generation"],
        item.get("crc32c", ""),
        item.get("contentEncoding") == "gzip",
    )


def _told(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    code = getattr(error, "code", None)
    if code in (401, 403, "401", "403") or text.startswith("Forbidden") or "credential" in text.lower():
        return f"{text}; check GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
    return f"{text}; try again"
