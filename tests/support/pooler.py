"""PgBouncer, which gives each transaction another connection to the server."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Server

# Debian's package puts it where users other than root do not look.
_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_CONFIGURATION = """[databases]
postgres = host=127.0.0.1 port={server} dbname=postgres user=postgres pool_size=3
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
# So that no two transactions that follow each other have the same connection.
server_round_robin = 1
logfile = {folder}/pgbouncer.log
"""


@contextlib.contextmanager
def pooler(server: Server) -> Iterator[int]:
    """Runs it before a server, in transaction mode. Yields its port; a loud skip where it is not installed."""
    if not _PROGRAM:
        pytest.skip("NOT TESTED: no pgbouncer here; install the package of that name")
    folder = server.folder / "pooler"
    folder.mkdir()
    server.owned(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(_CONFIGURATION.format(server=server.port, port=port, folder=folder))
    server.owned(configuration)
    # It refuses to run as root.
    user = pwd.getpwuid(folder.stat().st_uid).pw_name if os.geteuid() == 0 else None
    with subprocess.Popen([_PROGRAM, "-q", configuration], user=user, cwd=folder) as process:
        try:
            _wait_for(port, folder / "pgbouncer.log")
            yield port
        finally:
            process.kill()


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
            time.sleep(0.05)
        else:
            return
