"""The embedded PostgreSQL of the demo: where it can live, and what it says where it cannot start."""

from pathlib import Path

import psycopg
import pytest

from pachyderm.demo.database import embedded_postgres
from pachyderm.errors import PachydermError


def test_data_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """A clone below "My Projects (old)" runs the demo: pg_ctl gives the socket's folder to a shell without quotes."""
    folder = tmp_path / "My Projëcts (old) & it's" / "postgres"
    with embedded_postgres(folder) as url, psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert not (folder / "postmaster.pid").exists()


@pytest.mark.parametrize(("name", "text", "says"), [("PG_VERSION", "12\n", "version"), ("PG_VERSION", "x", "x")])
def test_damaged_data_is_said_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text(text)
    with pytest.raises(PachydermError, match=says), embedded_postgres(tmp_path / "data"):
        pass
