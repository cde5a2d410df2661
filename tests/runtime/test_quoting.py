"""What messages may quote, tried with secrets in every place that takes one."""

from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis.strategies import sampled_from, text

from runtime.quoting import CREDENTIAL_FILES, CREDENTIALS, is_path, quoted_path, safe_url, without_secrets

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


@given(
    text(alphabet="/?#@:[]%\\\\ a1.=&\n☃"),
    text(alphabet="/?#@:[]%\\\\ a1.=&\n☃"),
    sampled_from(["sftp", "https", "s3", "simplecache::https", "zip://a.csv::sftp", "what"]),
    sampled_from(["", "?x=1", "#a", "::gs://b/c"]),
)
@settings(max_examples=2000)
def test_a_password_of_any_characters_is_not_shown(before: str, after: str, scheme: str, end: str) -> None:
    """Raw ones too, which break the URL."""
    password = f"{before}{SECRET}{after}"
    for user in (f"user:{password}", f"user/:{password}", f"user:{quote(password, safe='')}"):
        url = f"{scheme}://{user}@host/a.csv{end}"
        assert SECRET not in safe_url(url)
        for told in (f"cannot open {url}", f"'{user}' refused", f"bad port '{unquote(user)}'"):
            assert SECRET not in without_secrets(told, url)


@given(text(alphabet="/?#@:[]% a1.=&\n"), text(alphabet="/?#@:[]% a1.=&\n"), sampled_from(["https", "gs", "s3"]))
def test_a_signature_is_not_shown(before: str, after: str, scheme: str) -> None:
    assert SECRET not in safe_url(f"{scheme}://host/a.csv?X-Goog-Signature={before}{SECRET}{after}")


@pytest.mark.parametrize(
    "url",
    [
        "gs://bucket/a b@c.csv",
        "https://host:8080/a.csv",
        "https://[::1]:80/a",
        "/data/in",
        "simplecache::gs://b/a",
        "zip://a.csv::/data/a.zip",
    ],
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
