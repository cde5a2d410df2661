"""Settings that an account, or a database, has by default: none of them changes what load reads or writes."""

import logging
from pathlib import Path

import pytest
from psycopg import sql

from runtime.errors import DatabaseError
from tests.support.loading import execute, rows_of, run_load, versions_of, write_version

SETTINGS = [
    "DateStyle = 'German'",
    "DateStyle = 'SQL, DMY'",
    "TimeZone = '<+03:30>-03:30'",
    "IntervalStyle = 'sql_standard'",
    "array_nulls = off",
    "standard_conforming_strings = off",
    "default_transaction_isolation = 'serializable'",
    "quote_all_identifiers = on",
    "row_security = off",
]


def set_for_all(database: str, setting: str) -> None:
    """Sets it for everybody who connects to this database from now on."""
    (name,) = rows_of(database, "select current_database()")[0]
    execute(database, sql.SQL("alter database {} set ").format(sql.Identifier(str(name))).as_string() + setting)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_default_setting_changes_nothing(
    database: str, tmp_path: Path, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """From the first load, through one that replaces, one that changes nothing and one of parts, to a prune."""
    caplog.set_level(logging.INFO)
    set_for_all(database, setting)
    source, target = tmp_path / "in", tmp_path / "out"
    for version in ("old", "new", "new"):
        for name in ("a.csv", "b.csv", "c.csv", "c.csv.parts/row-0000000003.csv"):
            write_version(source / name, version, 2)
        assert run_load(database, source, target) == 0
        whole = {"a.csv": {version: 2}, "b.csv": {version: 2}, "c.csv": {version: 4}}
        assert versions_of(database) == whole
    assert "unchanged=4" in caplog.text
    (source / "b.csv").unlink()
    assert run_load(database, source, tmp_path / "pruned", "--prune") == 0
    assert versions_of(database) == {"a.csv": {"new": 2}, "c.csv": {"new": 4}}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_an_account_that_reads_by_default_is_told_how_to_write(database: str, tmp_path: Path) -> None:
    write_version(tmp_path / "in/a.csv", "one", 3)
    set_for_all(database, "default_transaction_read_only = on")
    with pytest.raises(DatabaseError, match="read-only transaction") as caught:
        run_load(database, tmp_path / "in", tmp_path / "out")
    options = str(caught.value).rpartition('PGOPTIONS="')[2].rstrip('"')
    assert run_load(database, tmp_path / "in", tmp_path / "out", PGOPTIONS=options) == 0
    assert versions_of(database) == {"a.csv": {"one": 3}}
