"""What messages may quote, tried with secrets in every place that takes one."""

from pathlib import Path

import pytest

from runtime.quoting import CREDENTIAL_FILES, CREDENTIALS, is_path, quoted_path, safe_url

SECRET = "S3cretZz"  # noqa: S105
PEM = f"-----BEGIN PRIVATE KEY-----\nMIIE{SECRET}\n{SECRET}/abc\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "url",
    [
        f"sftp://user:{SECRET}@host/a.csv",
        f"sftp://user:{SECRET}@x@host/a.csv",
        f"sftp://user:x@{SECRET}@host/a.csv",
        f"sftp://user:x/{SECRET}@host/a.csv",
        f"sftp://user:x?{SECRET}@host/a.csv",
        f"sftp://user:x#{SECRET}@host/a.csv",
        f"sftp://user:x::{SECRET}@host/a.csv",
        f"s3://key:{SECRET}@bucket/a.csv",
        f"unknown+thing://{SECRET}@host",
        f"https://host/a.csv?X-Goog-Signature={SECRET}",
        f"https://host?sig=x@{SECRET}",
        f"https://host/a.csv#token={SECRET}",
        f"simplecache::https://user:{SECRET}@host/a.csv?sig={SECRET}",
        f"zip://a.csv::sftp://user:{SECRET}@host/a.zip",
    ],
)
def test_a_url_loses_what_may_be_secret(url: str) -> None:
    assert SECRET not in safe_url(url)


@pytest.mark.parametrize(
    "url",
    ["gs://bucket/a b@c.csv", "https://host:8080/a.csv", "https://[::1]:80/a", "/data/in", "simplecache::gs://b/a"],
)
def test_a_url_without_secrets_stays(url: str) -> None:
    assert safe_url(url) == url


@pytest.mark.parametrize("variable", sorted(CREDENTIALS | CREDENTIAL_FILES))
@pytest.mark.parametrize("value", [PEM, f'{{"private_key": "{SECRET}"}}', f"/{SECRET}", f"MIIE/{SECRET}", SECRET * 900])
def test_a_pasted_credential_is_never_quoted(variable: str, value: str) -> None:
    assert quoted_path(variable, value) == variable


def test_a_path_that_is_one_is_quoted(tmp_path: Path) -> None:
    """Also that of a file which is not there, in a folder which is."""
    assert quoted_path("PGSSLKEY", str(tmp_path / "none.key")) == f"PGSSLKEY ({tmp_path}/none.key)"
    assert not is_path("/etc\0/x")


def test_a_long_or_many_line_path_is_cut() -> None:
    assert len(quoted_path("MODEL", "x" * 5000)) < 300
    assert "\n" not in quoted_path("MODEL", "a\nb")
