"""The base of an image under test: Debian's own Python, with this machine's settings of pip, which builds can reach."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PACKAGES = ("python3", "python3-venv", "python-is-python3", "ca-certificates")


def run(environment: Mapping[str, str], *words: object) -> str:
    """What a program prints; the test fails where it does."""
    ran = subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return ran.stdout.strip()


def make_base(folder: Path, address: str) -> None:
    """Python on Debian 12, as near to the official image as packages come, with the pip settings of this machine."""
    run(os.environ, "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", folder)
    run(os.environ, "chroot", folder, "apt-get", "clean")
    lines = ["[global]"]
    for name, value in pip_settings().items():
        words = [served(word, address) for word in value.split()]
        lines.append(f"{name} = " + "\n    ".join(words))
        for word in words:
            if Path(word).is_file():
                target = folder / word.removeprefix("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(word, target)
    (folder / "etc/pip.conf").write_text("\n".join([*lines, ""]), "utf-8")


def pip_settings() -> dict[str, str]:
    """pip's settings here, by name."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    merged: dict[str, str] = {}
    # Those of the environment are listed first, and win.
    for name, value in re.findall(r"^(\S+?)='(.*)'$", listed.stdout, re.MULTILINE):
        merged.setdefault(name.rsplit(".", 1)[-1], value.replace("\\n", "\n"))
    return merged


def served(word: str, address: str) -> str:
    """A folder as the builds reach it, which are in a root of their own: by this machine's loopback."""
    path = Path(word.removeprefix("file://"))
    return f"{address}{path}/" if path.is_absolute() and path.is_dir() else word


@contextlib.contextmanager
def pip_server() -> Iterator[str]:
    """The address of a server that gives out what pip's settings here name, and what lies beside it."""
    words = [word for value in pip_settings().values() for word in value.split()]
    # An index on disk has the files that it links to beside it.
    tops = [Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word) for word in words]

    class Files(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            wanted = Path("/", *Path(urllib.parse.unquote(path)).parts)
            return str(wanted) if any(wanted.is_relative_to(top) for top in tops if top.is_absolute()) else "/nowhere"

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
