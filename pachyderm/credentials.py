"""The contents of the cluster's secrets, from files and libpq's variables. Nothing here prints or stores them."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from pachyderm.errors import PachydermError
from pachyderm.spec.reading import HERE

BUCKET_SECRET, DATABASE_SECRET = "answermill-bucket", "answermill-database"
TEMPLATES = HERE / "secrets"
# What `make secrets` reads the database's address from, and libpq's name for each in a service file.
_LIBPQ = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGSSLMODE": "sslmode",
}
_TLS_FILES = {"PGSSLROOTCERT": "root.crt", "PGSSLCERT": "client.crt", "PGSSLKEY": "client.key"}


def filled_secrets(environment: Mapping[str, str], bucket_key: Path | None) -> dict[str, dict[str, bytes]]:
    """The files of each secret for which there are files or variables. Raises PachydermError for a missing file."""
    filled = {}
    if bucket_key:
        filled[BUCKET_SECRET] = {"key.json": _read(bucket_key)}
    if environment.get("PGHOST"):
        files = {file: _read(Path(environment[name])) for name, file in _TLS_FILES.items() if environment.get(name)}
        filled[DATABASE_SECRET] = {"pg_service.conf": service_file(environment).encode(), **files}
    return filled


def service_file(environment: Mapping[str, str]) -> str:
    """A libpq service file with what the PG* variables say; paths of certificates are those of the mounted secret.

    Raises PachydermError for a value that such a file cannot hold, since it has no quoting.
    """
    lines = ["[answermill]"]
    for name, key in _LIBPQ.items():
        if value := environment.get(name):
            if "\n" in value or value != value.strip():
                raise PachydermError(
                    f"{name}: a service file cannot hold line breaks, or blanks at the ends; remove them"
                )
            lines.append(f"{key}={value}")
    keys = {"PGSSLROOTCERT": "sslrootcert", "PGSSLCERT": "sslcert"}
    lines += [f"{key}=/secrets/database/{_TLS_FILES[name]}" for name, key in keys.items() if environment.get(name)]
    return "\n".join([*lines, ""])


def manifest(name: str, files: Mapping[str, bytes]) -> str:
    """The filled template of a secret, as JSON: pachctl takes no YAML here."""
    template = json.loads((TEMPLATES / f"{name}.json").read_text("utf-8"))
    template["data"] = {file: base64.b64encode(content).decode() for file, content in files.items()}
    return json.dumps(template)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PachydermError(f"{path}: {error.strerror}") from error
