"""A throwaway emulator of Google Cloud Storage over HTTP, filled from a folder."""

import contextlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

BUCKET = "samples"


@contextlib.contextmanager
def emulated_bucket(folder: Path) -> Iterator[str]:
    """Serves the files below `folder` as objects of BUCKET until the end. Yields the STORAGE_EMULATOR_HOST."""
    from gcp_storage_emulator.server import create_server

    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        host = f"http://127.0.0.1:{port}"
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            put_object(host, path.relative_to(folder).as_posix(), path.read_bytes())
        yield host
    finally:
        server.stop()


def put_object(host: str, name: str, content: bytes) -> None:
    """Uploads one object, in the form that Google's JSON API calls multipart."""
    mark = b"--answermill"
    described = b"Content-Type: application/json\r\n\r\n" + json.dumps({"name": name}).encode()
    body = b"\r\n".join([mark, described, mark, b"Content-Type: text/csv\r\n\r\n" + content, mark + b"--", b""])
    request = urllib.request.Request(f"{host}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart", body)  # noqa: S310
    request.add_header("Content-Type", f"multipart/related; boundary={mark[2:].decode()}")
    with urllib.request.urlopen(request):  # noqa: S310 - an address of this process's own
        pass
