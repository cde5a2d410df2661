"""Secrets that are planted wherever one may stand, and looking for them where none may."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Nowhere by chance, and without a character that a URL, a shell or JSON would write in another way.
PLANTED = "Pl4nt3dS3cr3t"
# Whatever a library might read; none of them changes what the tests do.
VARIABLES = {
    name: f"{PLANTED}-{name.lower()}"
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
        "GITHUB_TOKEN",
        "HF_TOKEN",
        "PACH_TOKEN",
        "PGPASSWORD",
        "PGSSLPASSWORD",
        "SSHPASS",
    )
}
# Of larger files, made to measure memory, nothing is expected that smaller ones do not show.
_LARGEST = 8 << 20


def check_text(*texts: str | None) -> None:
    """Fails where a secret is in what was said."""
    for text in texts:
        assert PLANTED not in (text or ""), f"a secret was said: {text}"


def check_files(folder: Path) -> None:
    """Fails where a secret is in a file below: a log, a journal, state, an output; or in a name."""
    for path in folder.rglob("*"):
        assert PLANTED not in path.name, f"a secret is in the name {path}"
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        assert PLANTED.encode() not in content, f"a secret is in {path}"


@contextmanager
def command_lines_watched() -> Iterator[None]:
    """Fails where a secret is on the command line of any process, which every user of the machine can read."""
    shown: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = process.read_bytes()
                except OSError:
                    continue
                if PLANTED.encode() in line:
                    shown.add(line)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not shown
