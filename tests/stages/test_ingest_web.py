"""Ingest from a web server: files without a length, signed URLs, packed transfers, index pages."""

import gzip
import http.server
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Stage

CONTENT = b"question,context\nWho?,Mara\n"
SIGNATURE = "X-Signature=SECRETsignature"


@dataclass
class Server:
    """What the server answers, and how.

    Attributes:
        headers: more of them, each with its line end, as they are sent; a length among them is the only one.
        cut: how many answers end before their time.
        seen: the paths that were asked for.
        moves: where paths are redirected to.

    """

    port: int = 0
    kind: str = "text/csv"
    body: bytes = CONTENT
    length: bool = True
    status: int = 200
    encoding: str = ""
    headers: str = ""
    cut: int = 0
    seen: list[str] = field(default_factory=list)
    moves: dict[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    settings = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            settings.seen.append(self.path)
            if where := settings.moves.get(self.path.partition("?")[0]):
                self.send_response(302)
                self.send_header("Location", where)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(settings.status)
            if settings.headers:
                self.flush_headers()
                self.wfile.write(settings.headers.encode())
            self.send_header("Content-Type", settings.kind)
            if settings.encoding:
                self.send_header("Content-Encoding", settings.encoding)
            body = settings.body
            if settings.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # The first answer is to the listing, of which only the header is read.
            if settings.cut and len(settings.seen) > 1:
                settings.cut -= 1
                body = body[:-5]
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class has it so
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    settings.port = listening.server_address[1]
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield settings
    listening.shutdown()
    listening.server_close()


def test_a_signed_url_is_named_by_its_path_and_never_shown(server: Server, stage: Stage, tmp_path: Path) -> None:
    """Neither the log nor anything on disk has the query."""
    done = stage("ingest", server.url(f"/d/a%20b.csv?{SIGNATURE}"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a b.csv").read_bytes() == CONTENT
    assert SIGNATURE in server.seen[-1]
    server.status = 403
    failed = stage("ingest", server.url(f"/d/a%20b.csv?{SIGNATURE}"), tmp_path)
    assert failed.returncode == 1
    assert "the server says 403; check the URL; a signed one may have expired" in failed.stderr
    refused = stage("ingest", f"http://127.0.0.1:1/a.csv?{SIGNATURE}", tmp_path)
    assert refused.returncode == 1
    everything = done.stderr + failed.stderr + refused.stderr
    everything += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "SECRET" not in everything and "Traceback" not in everything
    assert json.loads((tmp_path / "listing.json").read_bytes())["files"]["a b.csv"]["file"] == "a b.csv"


def test_a_file_without_a_length_is_taken(server: Server, stage: Stage, tmp_path: Path) -> None:
    server.length = False
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == CONTENT
    assert "a part that is missing would not be noticed" in done.stderr


@pytest.mark.parametrize("encoding", ["gzip", "GZIP"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_packed_transfer_is_unpacked_once(
    server: Server, stage: Stage, tmp_path: Path, encoding: str, packed: bool
) -> None:
    """Some servers say that they pack and do not."""
    server.encoding = encoding
    server.body = gzip.compress(CONTENT) if packed else CONTENT
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("encoding", ["identity", "deflate", "br", "aws-chunked", ""])
def test_what_is_only_said_to_be_packed_is_taken(server: Server, stage: Stage, tmp_path: Path, encoding: str) -> None:
    server.headers = f"Content-Encoding: {encoding}\r\n"
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("encoding", ["deflate", "Deflate", "br"])
def test_an_unknown_packing_is_named(server: Server, stage: Stage, tmp_path: Path, encoding: str) -> None:
    """It is no text in another encoding, which an owner could name."""
    server.encoding = encoding
    server.body = zlib.compress(CONTENT)
    done = stage("ingest", server.url(f"/a.csv?{SIGNATURE}"), tmp_path)
    assert done.returncode == 1
    assert f"the server packs it (Content-Encoding: {encoding.lower()}), though asked not to" in done.stderr
    assert "SECRET" not in done.stderr and not (tmp_path / "rejected").exists()


def test_a_chunked_answer_is_taken_whole_or_not_at_all(server: Server, stage: Stage, tmp_path: Path) -> None:
    server.length = False
    server.headers = "Transfer-Encoding: chunked\r\n"
    whole = b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT)
    server.body = whole + b"0\r\n\r\n"
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == CONTENT
    assert "would not be noticed" not in done.stderr
    server.body = whole
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 1 and "it arrived incomplete 5 times" in done.stderr


@pytest.mark.parametrize("length", ["36", "none", "-5", "27, 27"])
def test_a_wrong_length_loses_nothing(server: Server, stage: Stage, tmp_path: Path, length: str) -> None:
    server.length = False
    server.headers = f"Content-Length: {length}\r\n"
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    if done.returncode:
        assert "it arrived incomplete 5 times" in done.stderr
    else:
        assert (tmp_path / "a.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("headers", ["X Header Without Colon\r\n", "Location : x\r\n", "\xe9: x\r\n"])
def test_damaged_headers_do_not_show_the_query(server: Server, stage: Stage, tmp_path: Path, headers: str) -> None:
    """urllib3 logs the whole URL, and a traceback, where it cannot read a header."""
    server.headers = headers
    done = stage("ingest", server.url(f"/a.csv?{SIGNATURE}"), tmp_path)
    assert "SECRET" not in done.stdout + done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "where", ["/b.csv", "/a.csv?SECRET", "http://127.0.0.1:1/x?SECRET", "file:///etc/passwd?SECRET"]
)
def test_a_redirect_shows_no_query(server: Server, stage: Stage, tmp_path: Path, where: str) -> None:
    """The name stays that of the URL that was given; a circle, and what leads nowhere, is an error in one line."""
    server.moves = {"/a.csv": where}
    done = stage("ingest", server.url(f"/a.csv?{SIGNATURE}"), tmp_path / "out")
    assert "SECRET" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    if where == "/b.csv":
        assert (tmp_path / "out/a.csv").read_bytes() == CONTENT
    else:
        assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_what_arrives_cut_is_asked_for_again(server: Server, stage: Stage, tmp_path: Path) -> None:
    server.cut = 2
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == CONTENT
    server.cut = 9
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 1
    assert "it arrived incomplete 5 times" in done.stderr


def test_an_index_page_is_no_table(server: Server, stage: Stage, tmp_path: Path) -> None:
    for kind, path in (
        ("text/html; charset=utf-8", "/folder/"),
        ("TEXT/HTML", "/folder/a.csv"),
        ("application/xhtml+xml", "/folder/a.csv"),
        ("text/html", ""),
    ):
        server.kind = kind
        done = stage("ingest", server.url(path), tmp_path / "out")
        assert done.returncode == 1
        assert "give the URL of" in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


PAGE = b"<html><head><title>Index of /</title></head></html>"


@pytest.mark.parametrize(
    "body",
    [PAGE, b"\n<!-- x -->\n<!doctype HTML>", b"\xef\xbb\xbf" + PAGE.upper(), PAGE.decode().encode("utf-16"),
     gzip.compress(PAGE), b"<?xml version='1.0'?><Error/>", b'[ {"name": "a.csv"}]'],
)  # fmt: skip
def test_an_index_page_in_disguise_is_told_by_its_bytes(
    server: Server, stage: Stage, tmp_path: Path, body: bytes
) -> None:
    server.body = body
    done = stage("ingest", server.url("/a.csv"), tmp_path)
    assert done.returncode == 0
    assert "not a CSV" in json.loads((tmp_path / "rejected/a.csv.json").read_bytes())["reason"]


@pytest.mark.parametrize("url", ["sftp://anna:SECRET@127.0.0.1:1/in", "s3://AKIA:SECRET@bucket/in?x=SECRET"])
def test_passwords_in_urls_are_not_shown(stage: Stage, tmp_path: Path, url: str) -> None:
    done = stage("ingest", url, tmp_path)
    assert done.returncode == 1
    assert "SECRET" not in done.stderr and "Traceback" not in done.stderr
