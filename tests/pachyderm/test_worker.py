"""One datum: what its process finds, how often it is tried, what of its output is taken."""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pachyderm.errors import PachydermError
from pachyderm.local.worker.mapping import translate
from pachyderm.local.worker.process import Launcher, ProcessSpec, own_mounts
from tests.support.pachyderm_kit import COPY, Bench, spec


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    one = Bench(tmp_path)
    one.put("a", "1")
    return one


def test_pfs_holds_the_datum_an_empty_out_and_env(bench: Bench) -> None:
    bench.put("d/e", "2")
    script = """
        for name in in out; do test -L /pfs/$name && test -d /pfs/$name/; done
        ls -A /pfs | grep -v scratch | tr '\\n' ' ' > "/pfs/out/pfs-$(basename $in)"
        (cd /pfs/in && find . -type f) > "/pfs/out/in-$(basename $in)"
        ls -A /pfs/out/ | wc -l >> "/pfs/out/in-$(basename $in)"
        echo "$in" > "/pfs/out/var-$(basename $in)"
        echo changed > /pfs/in/x
    """
    assert bench.run(spec("look", "src", script))["look"].state == "success"
    files = bench.files("look")
    assert files["/pfs-a"].split() == [".env", "in", "out"]
    assert files["/in-a"].split() == ["./a", "2"]
    assert files["/in-d"].split() == ["./d/e", "2"]
    assert files["/var-a"].endswith("/pfs/in/a\n")
    assert files["/var-d"].endswith("/pfs/in/d\n")


def test_the_root_itself_as_a_datum(bench: Bench) -> None:
    bench.run(spec("whole", "src", 'echo "$in" > /pfs/out/in; cat "$in/a" > /pfs/out/a', glob="/"))
    assert bench.files("whole")["/in"].endswith("/pfs/in\n")
    assert bench.files("whole")["/a"] == "1"


def test_an_input_can_be_written_to_without_harm(bench: Bench) -> None:
    bench.run(spec("vandal", "src", "echo 2 > /pfs/in/a; cp /pfs/in/a /pfs/out/"))
    assert bench.files("src") == {"/a": "1"}


def test_the_environment_is_a_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "shell's")
    monkeypatch.setenv("SOMETHING_OF_THE_SHELLS", "1")
    bench.mapping["environment"] = {"GIVEN": "here", "SPEC_ONLY": None}
    environment = {"GIVEN": "spec", "SPEC_ONLY": "1", "MINE": "x", "FOLDER": "/pfs/out"}
    job = bench.run(
        spec("look", "src", "env > /pfs/out/env; cp /pfs/.env /pfs/out/dotenv", transform={"env": environment})
    )
    lines = dict(line.split("=", 1) for line in bench.files("look")["/env"].splitlines())
    (result,) = bench.results("look").values()
    assert lines["PACH_DATUM_ID"] == result.id
    assert lines["PACH_JOB_ID"] == lines["PACH_OUTPUT_COMMIT_ID"] == job["look"].id
    assert re.fullmatch("[0-9a-f]{32}", job["look"].id)
    assert lines["in_COMMIT"] == job["look"].id
    assert (lines["PACH_IN_WORKER"], lines["PPS_PIPELINE_NAME"], lines["PPS_PROJECT_NAME"]) == (
        "true",
        "look",
        "default",
    )
    assert (lines["POSTGRES_USER"], lines["POSTGRES_HOST"]) == ("pachyderm", "")
    assert (lines["MINE"], lines["GIVEN"]) == ("x", "here")
    assert lines["FOLDER"].endswith("/pfs/out")
    assert {"FILESET_ID", "PPS_WORKER_GRPC_PORT", "PPS_POD_NAME", "PPS_SPEC_COMMIT"} <= lines.keys()
    assert not {"POSTGRES_PASSWORD", "SOMETHING_OF_THE_SHELLS", "SPEC_ONLY"} & lines.keys()
    written = bench.files("look")["/dotenv"].splitlines()
    assert {f"{name}={lines[name]}" for name in ("PACH_DATUM_ID", "MINE", "in")} <= set(written)


def test_join_and_group_values_are_variables(bench: Bench) -> None:
    pfs = {"name": "in", "repo": "src", "glob": "/(*)", "groupBy": "$1"}
    grouped = {**spec("look", "src", "env > /pfs/out/env"), "input": {"group": [{"pfs": pfs}]}}
    bench.run(grouped)
    assert "PACH_DATUM_in_GROUP_BY=a" in bench.files("look")["/env"].splitlines()


def test_secrets_come_as_files_and_as_variables(bench: Bench) -> None:
    secret = bench.folder / "secrets/database"
    secret.mkdir(parents=True)
    (secret / "user").write_text("me")
    mounts = [{"name": "database", "mountPath": "/secrets/db", "envVar": "DB_USER", "key": "user"}]
    environment = {"USER_FILE": "/secrets/db/user"}
    script = 'cat /secrets/db/user "$USER_FILE" > /pfs/out/x; echo " $DB_USER" >> /pfs/out/x'
    bench.run(spec("look", "src", script, transform={"secrets": mounts, "env": environment}))
    assert bench.files("look") == {"/x": "meme me\n"}


def test_a_missing_secret_is_said_before_anything_runs(bench: Bench) -> None:
    mounted = spec(
        "look",
        "src",
        "ls -A /secrets/db > /pfs/out/x",
        transform={"secrets": [{"name": "db", "mountPath": "/secrets/db"}]},
    )
    with pytest.raises(PachydermError, match=r"secret db: no folder .*secrets/db; create it .* --without-secret db"):
        bench.run(mounted)
    assert not (bench.root / "jobs").exists()
    bench.mapping["without"] = frozenset(["db"])
    bench.run(mounted)
    assert bench.files("look") == {"/x": ""}


def test_tries_start_with_an_empty_out_and_end_with_success(bench: Bench) -> None:
    count = bench.folder / "count"
    script = f'ls -A /pfs/out/ | wc -l >> {count}; echo > "/pfs/out/$(wc -l < {count})"; test $(wc -l < {count}) -eq 3'
    bench.run(spec("third", "src", script))
    (result,) = bench.results("third").values()
    assert (result.state, result.tries) == ("processed", 3)
    assert count.read_text().split() == ["0", "0", "0"]
    assert list(bench.files("third")) == ["/3"]


def test_a_failure_says_code_and_last_line(bench: Bench) -> None:
    job = bench.run(spec("bad", "src", "echo first; echo the reason >&2; exit 3", datumTries=2))["bad"]
    (result,) = bench.results("bad").values()
    assert (result.state, result.tries, result.error) == ("failed", 2, "exit code 3: the reason")
    assert job.reason == "datum /a failed: exit code 3: the reason"
    assert bench.log("bad") == ["/a: first", "/a: the reason"] * 2


def test_accepted_codes_are_success(bench: Bench) -> None:
    bench.run(spec("odd", "src", f"{COPY}; exit 7", transform={"acceptReturnCode": [7]}))
    assert bench.states("odd") == {"/a": "processed"}
    assert bench.files("odd") == {"/a": "1"}


def test_a_command_that_is_not_there(bench: Bench) -> None:
    missing = spec("bad", "src", "", transform={"cmd": ["/no/such/command"], "stdin": []}, datumTries=1)
    bench.run(missing)
    assert bench.results("bad")["/a"].error == "exit code 1: /no/such/command: No such file or directory"


def test_standard_input_is_the_lines_joined_and_else_empty(bench: Bench) -> None:
    bench.run(spec("lines", "src", "", transform={"cmd": ["sh"], "stdin": ["cat > /pfs/out/x <<END", "1", "2", "END"]}))
    assert bench.files("lines") == {"/x": "1\n2\n"}
    nothing = {"cmd": ["sh", "-c", "cat > /pfs/out/x"], "stdin": None}
    bench.run(spec("silent", "src", "", transform=nothing))
    assert bench.files("silent") == {"/x": ""}


def test_a_timeout_kills_the_process_with_its_children(bench: Bench) -> None:
    child = bench.folder / "child"
    script = f"sleep 600 & echo $! > {child}; wait"
    bench.run(spec("slow", "src", script, datumTimeout="1s", datumTries=1))
    assert bench.results("slow")["/a"].error == "timed out after 1 s"
    assert gone(int(child.read_text()))


def test_children_that_stay_behind_are_killed(bench: Bench) -> None:
    child = bench.folder / "child"
    bench.run(spec("parent", "src", f"sleep 600 > /dev/null 2>&1 & echo $! > {child}"))
    assert bench.states("parent") == {"/a": "processed"}
    assert gone(int(child.read_text()))


def gone(process: int) -> bool:
    """Whether the process has ended, at the latest in a while; a zombie that init has not fetched yet has."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def test_the_error_command_recovers_a_datum_for_this_job_only(bench: Bench) -> None:
    count = bench.folder / "count"
    transform = {"errCmd": ["sh", "-c"], "errStdin": None}
    transform = {"errCmd": ["sh", "-c", f'echo "$PACH_DATUM_ID $in" >> {count}']}
    bench.put("b", "1")
    script = f'{COPY}; test "$(basename $in)" = b'
    job = bench.run(spec("fragile", "src", script, datumTries=2, transform=transform))["fragile"]
    assert job.state == "success"
    assert bench.states("fragile") == {"/a": "recovered", "/b": "processed"}
    assert bench.files("fragile") == {"/b": "1"}
    assert len(count.read_text().splitlines()) == 2
    assert bench.results("fragile")["/a"].id in count.read_text()
    bench.put("c", "1")
    bench.run(spec("fragile", "src", COPY, transform=transform))
    assert bench.states("fragile") == {"/a": "processed", "/b": "skipped", "/c": "processed"}


def test_an_error_command_that_fails_recovers_nothing(bench: Bench) -> None:
    bench.run(spec("bad", "src", "exit 1", datumTries=1, transform={"errCmd": ["false"]}))
    assert bench.states("bad") == {"/a": "failed"}


def test_links_in_the_output_are_followed(bench: Bench) -> None:
    outside = bench.folder / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/x").write_text("out")
    bench.put("d/e", "2")
    script = f"""
        ln -s /pfs/in/a /pfs/out/input
        ln -s {outside} /pfs/out/folder
        ln -s {outside}/deep/x /pfs/out/file
        echo own > /pfs/out/real
        ln -s real /pfs/out/alias
        mkdir -p /pfs/out/empty/empty /pfs/out/some
        mkfifo /pfs/out/pipe
        echo y > /pfs/out/some/y
        ln -s some /pfs/out/same
    """
    bench.run(spec("links", "src", script, glob="/a"))
    assert bench.files("links") == {
        "/input": "1",
        "/folder/deep/x": "out",
        "/file": "out",
        "/real": "own\n",
        "/alias": "own\n",
        "/some/y": "y\n",
        "/same/y": "y\n",
    }
    assert (outside / "deep/x").read_text() == "out"


def test_files_laid_out_empty_are_passed_on_with_their_content(bench: Bench) -> None:
    thin = spec("thin", "src", "wc -c < /pfs/in/a > /pfs/out/size; ln -s /pfs/in/a /pfs/out/a", glob="/")
    thin["input"]["pfs"]["emptyFiles"] = True
    bench.run(thin)
    assert bench.files("thin") == {"/size": "0\n", "/a": "1"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo > '/pfs/out/a*b'", "output /a*b: * is a character of globs"),
        ("echo > '/pfs/out/é'", "output /é: only printable ASCII is allowed"),
        ("mkdir '/pfs/out/a[1]'; echo > '/pfs/out/a[1]/b'", "output /a[1]/b: [ is a character of globs"),
        ("echo > \"/pfs/out/$(printf '\\377').csv\"", "output /\udcff.csv: only printable ASCII is allowed"),
        ("ln -s \"$(printf '\\377')\" /pfs/out/a", "output /a: a link to \udcff, which does not exist"),
        ("ln -s nowhere /pfs/out/a", "output /a: a link to nowhere, which does not exist"),
        ("mkdir /pfs/out/d; ln -s ../d /pfs/out/d/e", "a link to a folder above it"),
    ],
)
def test_output_that_no_repo_takes_fails_the_job_at_once(bench: Bench, script: str, reason: str) -> None:
    job = bench.run(spec("bad", "src", script))["bad"]
    (result,) = bench.results("bad").values()
    assert (job.state, result.tries) == ("failure", 1)
    assert reason in result.error
    assert bench.files("bad") == {}


def test_odd_names_that_a_repo_takes(bench: Bench) -> None:
    name = "a b,c:d'e#f=g%h&i~j$k.csv"
    bench.run(spec("odd", "src", f"""echo 1 > "/pfs/out/{name.replace("$", chr(92) + "$")}" """))
    assert bench.files("odd") == {f"/{name}": "1\n"}


def test_the_real_pfs_where_mounts_are_allowed(bench: Bench) -> None:
    """Nothing is replaced here: the script asks the kernel."""
    allowed = subprocess.run([*own_mounts(), "true"], capture_output=True).returncode == 0
    bench.mapping["real_pfs"] = True
    real = spec(
        "real", "src", "p=/p; cat ${p}fs/in/a > ${p}fs/out/b; echo $in >> ${p}fs/out/b; ln -s ${p}fs/in/a ${p}fs/out/l"
    )
    if not allowed or not Path("/pfs").is_dir():
        with pytest.raises(PachydermError, match=r"/pfs: no such folder|run without --pfs"):
            bench.run(real)
        return
    bench.run(real)
    assert bench.files("real") == {"/b": "1/pfs/in/a\n", "/l": "1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/pfs/in", "/local/r/in"),
        ("--out=/pfs/out", "--out=/local/r/out"),
        ("/pfs", "/local/r"),
        ("cp /pfs/a /pfs/b", "cp /local/r/a /local/r/b"),
        ("'/model'", "'build/m'"),
        ("gs://bucket/pfs/in", "gs://bucket/pfs/in"),
        ("/pfsx", "/pfsx"),
        ("/models", "/models"),
        ("/data/model", "/data/model"),
    ],
)
def test_only_paths_of_the_image_are_replaced(text: str, expected: str) -> None:
    assert translate(text, {"/pfs": Path("/local/r"), "/model": Path("build/m")}) == expected


def test_python_is_this_python(bench: Bench) -> None:
    command = ["python", "-c", "import sys; open('/pfs/out/x', 'w').write(sys.executable)"]
    bench.run(spec("snake", "src", "", transform={"cmd": command}))
    assert os.path.realpath(bench.files("snake")["/x"]) == os.path.realpath(os.sys.executable)  # type: ignore[attr-defined]


def spec_of(folder: Path, *words: str) -> ProcessSpec:
    return ProcessSpec(words, {"PATH": os.environ["PATH"]}, folder, None, folder / "log")


def is_running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_launcher_serves_one_process_after_the_other(tmp_path: Path) -> None:
    """Each is told apart by its own exit code; what one leaves behind is gone when the next one starts."""
    launcher, stop = Launcher(), threading.Event()
    try:
        launcher.start(spec_of(tmp_path, "sh", "-c", "sleep 60 & echo $! > left; echo $PPID; exit 3"))
        assert launcher.wait(None, stop) == 3
        assert not is_running((tmp_path / "left").read_text().strip())
        launcher.start(spec_of(tmp_path, "sh", "-c", "echo $PPID; kill -9 $$"))
        assert launcher.wait(None, stop) == -signal.SIGKILL
        one, other = (tmp_path / "log").read_text().split()
        assert one == other
        launcher.start(spec_of(tmp_path, "none"))
        assert launcher.wait(None, stop) == 1
        assert (tmp_path / "log").read_text().endswith("none: No such file or directory\n")
    finally:
        launcher.end()
    assert launcher.poll() == 1


def test_a_launcher_that_is_killed_fails_one_process(tmp_path: Path) -> None:
    """The kernel kills the one that uses most memory, which need not be the stage; its process goes with it."""
    launcher, stop = Launcher(), threading.Event()
    try:
        launcher.start(spec_of(tmp_path, "sh", "-c", "echo $$ > self; kill -9 $PPID; sleep 60"))
        assert launcher.wait(None, stop) == -signal.SIGKILL
        while is_running((tmp_path / "self").read_text().strip()):
            time.sleep(0.01)
        launcher.start(spec_of(tmp_path, "true"))
        assert launcher.wait(None, stop) == 0
    finally:
        launcher.end()
