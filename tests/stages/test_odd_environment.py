"""Commands where the environment is odd: never a traceback, a device is never replaced, one line says what to do."""

import contextlib
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.errors import AnswermillError
from stages import view
from stages.common.files import _is_special, whole_file
from tests.conftest import ROOT
from tests.support.loading import write_version

ANSWERMILL = [sys.executable, "-m", "answermill"]
WORDS = {
    "ingest": ["ingest", "in", "out"],
    "load": ["load", "in", "out", "--retry-for", "0"],
    "plan": ["plan", "--image", "x:1", "--bucket", "gs://b"],
    "status": ["status", "--root", "none"],
    "stamp": ["stamp", "--image", "x:1", "--output", "out"],
    "view": ["view", "in", "--output", "page.html"],
    "compare": ["compare", "in", "in"],
    "help": ["--help"],
}
Prepare = Callable[[], object]


def close(*descriptors: int) -> Prepare:
    def prepare() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return prepare


def limit(kind: int, number: int) -> Prepare:
    return lambda: resource.setrlimit(kind, (number, number))


def run(
    folder: Path, words: list[str], prepare: Prepare | None = None, name: str = "a.csv", **variables: str
) -> "subprocess.CompletedProcess[bytes]":
    write_version(folder / "in" / name, "one", 3)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": "postgresql://127.0.0.1:1/db", **variables}
    return subprocess.run(
        [*ANSWERMILL, *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=prepare,
        timeout=60,
    )


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("name", ["ingest", "compare", "plan", "help"])
def test_closed_streams_change_no_result(tmp_path: Path, name: str, closed: tuple[int, ...]) -> None:
    """No file gets the number of a closed stream, and with it what a library writes to stderr."""
    done = run(tmp_path, WORDS[name], close(*closed))
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "prepare",
    [
        close(0, 1, 2),
        limit(resource.RLIMIT_NOFILE, 30),
        limit(resource.RLIMIT_NOFILE, 8),
        limit(resource.RLIMIT_FSIZE, 0),
        lambda: os.umask(0o777),
    ],
    ids=["closed", "30 files", "8 files", "no space", "umask"],
)
@pytest.mark.parametrize("name", WORDS)
def test_no_command_ends_in_a_traceback(tmp_path: Path, name: str, prepare: Prepare) -> None:
    done = run(tmp_path, WORDS[name], prepare)
    assert done.returncode in (0, 1)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("variables", [C_LOCALE, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX"}], ids=str)
@pytest.mark.parametrize("name", WORDS)
def test_names_beyond_ascii_need_no_locale(tmp_path: Path, name: str, variables: dict[str, str]) -> None:
    folder = tmp_path / "Zürich ñ"
    folder.mkdir()
    wanted = run(folder, WORDS[name], None, "naïve ü.csv").returncode
    shutil.rmtree(folder / "out", ignore_errors=True)
    done = run(folder, WORDS[name], None, "naïve ü.csv", **variables)
    assert (done.returncode, b"Traceback" in done.stderr) == (wanted, False), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ro,size=1m", "size=4k"])
@pytest.mark.parametrize("name", WORDS)
def test_a_tmpdir_that_takes_nothing_is_not_needed(tmp_path: Path, name: str, kind: str) -> None:
    """Read-only, or full: what a stage writes for a while lies below its output."""
    wanted = run(tmp_path, WORDS[name]).returncode
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with mounted(tmp_path / "tmp", kind) as small:
        if kind == "size=4k":
            (small / "full").write_bytes(b"x" * 4096)
        done = run(tmp_path, WORDS[name], TMPDIR=str(small))
    assert (done.returncode, b"Traceback" in done.stderr) == (wanted, False), done.stderr


@pytest.mark.parametrize("name", ["ingest", "stamp", "view"])
def test_a_read_only_output_is_one_line(tmp_path: Path, name: str) -> None:
    targets = {"out": "small/out", "page.html": "small/page.html"}
    with mounted(tmp_path / "small", "ro,size=1m"):
        done = run(tmp_path, [targets.get(word, word) for word in WORDS[name]])
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"Read-only file system; choose a folder on a file system that can be written" in done.stderr


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at a folder that is made."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may mount a small file system")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["compare", "plan"])
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, name: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(tmp_path, WORDS[name], lambda: os.dup2(full.fileno(), 1))
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"stdout, or a temporary file: No space left on device; free some space and run again" in done.stderr


def test_a_full_disk_behind_piped_answers_is_one_line(tmp_path: Path, int8_bundle: Path) -> None:
    """It named no place."""
    write_version(tmp_path / "in/a.csv", "one", 3)
    words = [*ANSWERMILL, "answer", "-", "-", "--prefix", "qa_", "--model", str(int8_bundle)]
    with Path("/dev/full").open("wb") as full, (tmp_path / "in/a.csv").open("rb") as source:
        done = subprocess.run(words, cwd=ROOT, stdin=source, stdout=full, stderr=subprocess.PIPE, timeout=240)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"answer: stdout: No space left on device" in done.stderr


def test_piped_answers_that_nobody_reads_end_quietly(tmp_path: Path, int8_bundle: Path) -> None:
    """It said `[Errno 32] Broken pipe`, as in `answermill answer - - … | head -1`."""
    write_version(tmp_path / "in/a.csv", "one", 3)
    words = [*ANSWERMILL, "answer", "-", "-", "--prefix", "qa_", "--model", str(int8_bundle)]
    reader, writer = os.pipe()
    os.close(reader)
    with (tmp_path / "in/a.csv").open("rb") as source:
        done = subprocess.run(words, cwd=ROOT, stdin=source, stdout=writer, stderr=subprocess.PIPE, timeout=240)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


# Sends the signal to itself when the module is about to be loaded: the verb's, or what all command lines share.
LOADING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[-1]:
            sys.argv.pop()
            os.kill(os.getpid(), int(sys.argv.pop()))

sys.meta_path.insert(0, Finder())
import answermill
sys.exit(answermill.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, -signal.SIGTERM})])
@pytest.mark.parametrize("module", ["runtime.command", "stages.compare"])
def test_a_signal_while_modules_are_loaded_is_quiet(number: signal.Signals, codes: set[int], module: str) -> None:
    words = [sys.executable, "-c", LOADING, "compare", "a", "b", str(int(number)), module]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode in codes, done.stderr) == (True, "")


# As onnxruntime does while it imports numpy.
SWALLOWED = """
import argparse, os, sys, time
from runtime import command

def work(_):
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(60)
    except BaseException as error:
        raise ImportError("import numpy failed") from error

sys.exit(command.run("odd", work, argparse.Namespace(log_format="text")))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_library_makes_an_error_of_is_quiet(number: signal.Signals, code: int) -> None:
    """It ended `answer` in a traceback with exit code 1."""
    words = [sys.executable, "-c", SWALLOWED, str(int(number))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    """`view --output /dev/null` made a file of it, as root."""
    path = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("NOT TESTED: root is needed to make a device")
    before = path.lstat()
    with pytest.raises(AnswermillError, match="not a regular file"), whole_file(path) as file:
        file.write(b"x")
    write_version(tmp_path / "in/a.csv", "one", 3)
    assert view.main([str(tmp_path / "in"), "--output", str(path)]) == 1
    assert (path.lstat().st_mode, path.lstat().st_rdev) == (before.st_mode, before.st_rdev)
    assert {entry.name for entry in tmp_path.iterdir()} == {"odd", "in"}


@pytest.mark.parametrize("words", [["view", "in", "--output"], ["status", "--root", "none", "--html"]])
def test_only_a_page_is_replaced_by_a_page(tmp_path: Path, words: list[str]) -> None:
    """`view answers --output answers/a.csv` replaced the answers by the page that shows them, with exit code 0."""
    answers = write_version(tmp_path / "in/a.csv", "one", 3)
    before = answers.read_bytes()
    done = run(tmp_path, [*words, "in/a.csv"])
    assert (done.returncode, answers.read_bytes()) == (1, before)
    assert b"in/a.csv: it is there and is no page; name another file, or remove this one" in done.stderr
    if words[0] == "view":
        codes = [run(tmp_path, [*words, "in/page.html"]).returncode for _ in range(2)]
        assert (codes, answers.read_bytes()) == ([0, 0], before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["ingest", "in", "taken"],
            "taken: File exists; choose another name, since a folder is to be made there",
        ),
        (
            ["ingest", "in", "taken/x"],
            "Not a directory; choose another path, since a file is in the place of a folder",
        ),
        (["stamp", "--image", "x:1", "--output", "taken"], "taken: File exists"),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "taken").touch()
    done = run(tmp_path, words)
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_stream_by_name_is_no_place_for_a_file() -> None:
    """`--output /dev/stdout`, whose link root would replace; asked only, since a fault would break the machine."""
    names = ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/null"]
    assert [_is_special(Path(name)) for name in names if os.path.lexists(name)].count(False) == 0
    assert not _is_special(Path("/dev/answermill-is-not-there"))
