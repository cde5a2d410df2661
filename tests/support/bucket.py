"""A real bucket over HTTP: an emulator of Google Cloud Storage, behind a proxy that can do it harm."""

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gcp_storage_emulator.server import create_server

BUCKET = "questions"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for: `object` is empty for listings; `media` says that its bytes are meant."""

    number: int
    object: str
    media: bool
    start: int
    headers: dict[str, str]


# What a fault says of one request: None to leave it alone.
Fault = Callable[[Request], str | int | None]


@dataclass
class Proxy:
    """The emulator's address with faults in front; what it does beyond the emulator is what Google does.

    Listings come in pages of `page` objects, and a generation that is not the object's own is not found.

    Attributes:
        fault: gives a status to answer with, or `reset`, `stall`, `half` or `flip`.
        before: called with each request before it is answered.
        requester_pays: whether requests without a project that pays are refused.
        circular: whether the last page of a listing leads to the first again, as behind a cache that forgets the token.
        seen: all requests.

    """

    emulator: int
    page: int = 1000
    fault: Fault = lambda _: None
    before: Callable[[Request], None] = lambda _: None
    requester_pays: bool = False
    circular: bool = False
    seen: list[Request] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a stage needs in its environment to come here."""
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.port}"}

    def put(self, name: str, content: bytes, **metadata: str) -> None:
        """Writes an object, past the proxy's faults."""
        boundary = b"part-of-an-upload"
        meta = json.dumps({"name": name, **metadata}).encode()
        body = b"".join(
            [
                b"--" + boundary + b"\r\nContent-Type: application/json\r\n\r\n" + meta + b"\r\n",
                b"--" + boundary + b"\r\nContent-Type: text/csv\r\n\r\n" + content + b"\r\n",
                b"--" + boundary + b"--\r\n",
            ]
        )
        url = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart"
        kind = f"multipart/related; boundary={boundary.decode()}"
        status, _, _ = self._ask("POST", url, body, {"Content-Type": kind})
        assert status == 200

    def delete(self, name: str) -> None:
        status, _, _ = self._ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}")
        assert status in (200, 204)

    def describe(self, name: str) -> dict[str, str]:
        """The object's metadata: size, crc32c, generation."""
        status, _, body = self._ask("GET", f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}")
        assert status == 200
        found: dict[str, str] = json.loads(body)
        return found

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        # The emulator answers one at a time.
        with self.lock:
            connection = http.client.HTTPConnection("127.0.0.1", self.emulator, timeout=30)
            with contextlib.closing(connection):
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """The emulator's answer, with pages and generations as Google has them."""
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if self.requester_pays and "userProject" not in query:
            text = "Bucket is a requester pays bucket but no user project provided."
            return 400, {}, json.dumps({"error": {"code": 400, "message": text}}).encode()
        wanted = query.pop("generation", None)
        if wanted is not None:
            status, _, body = self._ask("GET", url.path)
            if status == 200 and json.loads(body)["generation"] != wanted:
                return 404, {}, b""
        passed = {name: value for name, value in headers.items() if name.lower() == "range"}
        status, got, body = self._ask("GET", path, headers=passed)
        if status == 200 and url.path.endswith("/o"):
            listing = json.loads(body)
            first = int(query.get("pageToken", 0))
            items = sorted(listing.get("items", []), key=lambda item: str(item["name"]))
            page = {"kind": listing["kind"], "items": items[first : first + self.page]}
            if first + self.page < len(items) or self.circular:
                page["nextPageToken"] = str((first + self.page) % max(1, len(items)))
            body = json.dumps(page).encode()
        return status, {name: value for name, value in got.items() if name.lower() != "content-length"}, body


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        headers = dict(self.headers.items())
        name = urllib.parse.unquote(url.path.partition("/o/")[2])
        start = int(headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        request = Request(len(self.proxy.seen), name, "alt=media" in url.query, start, headers)
        self.proxy.seen.append(request)
        self.proxy.before(request)
        fault = self.proxy.fault(request)
        if isinstance(fault, int):
            self._send(fault, {}, b"no")
        elif fault == "reset":
            # With a linger of 0, close() sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.close_connection = True
        elif fault == "stall":
            self.proxy.release.wait(60)
        else:
            status, got, body = self.proxy.answer(self.path, headers)
            if fault == "flip" and body:
                place = len(body) // 2
                body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
            self._send(status, got, body, body[: len(body) // 2] if fault == "half" else body)

    def _send(self, status: int, headers: dict[str, str], body: bytes, sent: bytes | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if sent is None else sent)
        if sent is not None and len(sent) < len(body):
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class has it so
        pass


@contextlib.contextmanager
def bucket() -> Iterator[Proxy]:
    """An empty bucket named BUCKET."""
    with contextlib.ExitStack() as stack:
        port = _free_port()
        server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
        server.start()
        stack.callback(server.stop)
        _wait_for(port)
        proxy = Proxy(port)
        handler = type("Handler", (_Handler,), {"proxy": proxy})
        front = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        front.daemon_threads = True
        proxy.port = front.server_address[1]
        thread = threading.Thread(target=front.serve_forever, daemon=True)
        thread.start()
        stack.callback(front.server_close)
        stack.callback(front.shutdown)
        stack.callback(proxy.release.set)
        yield proxy


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port}")
