"""The embedded PostgreSQL of the demo: where it can live, and what it says where it cannot start."""

from pathlib import Path

import psycopg
import pytest

from pachyderm.demo.database import embedded_postgres
from pachyderm.errors import PachydermError


@pytest.mark.parametrize("name", ["My Projëcts (old) & it's", "long" * 30, "short"])
def test_data_may_lie_in_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    """A clone below "My Projects (old)" runs the demo: pg_ctl gives the socket's folder to a shell without quotes.

    Nobody else reaches the socket, wherever it lies: the server asks for no password. With a long name all could.
    """
    folder = tmp_path / name / "postgres"
    with embedded_postgres(folder) as url, psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        sockets = Path(connection.info.host)
        assert (sockets / f".s.PGSQL.{connection.info.port}").is_socket()
        assert not sockets.stat().st_mode & 0o077
    assert not (folder / "postmaster.pid").exists()


@pytest.mark.parametrize(("name", "text", "says"), [("PG_VERSION", "12\n", "version"), ("PG_VERSION", "x", "x")])
def test_damaged_data_is_said_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text(text)
    with pytest.raises(PachydermError, match=says), embedded_postgres(tmp_path / "data"):
        pass
