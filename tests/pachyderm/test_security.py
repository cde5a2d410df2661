"""What other users, user code and its output may not do, and what is never written down."""

import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from pachyderm.local.worker.batching import is_own_caller
from pachyderm.local.worker.redaction import Redaction
from tests.pachyderm.test_cli import Shell
from tests.pachyderm.test_worker import gone
from tests.support.pachyderm_kit import COPY, Bench, spec
from tests.support.waiting import until

SECRETS = {
    "DATABASE_URL": "postgresql://user:S3CRET-pw%2Fwort@nowhere/x",
    "PGPASSWORD": "S3CRET-pw/wort",
    "SERVICE_KEY": "-----BEGIN PRIVATE KEY-----\nMIIS3CRETabcdef\n-----END PRIVATE KEY-----",
}

ONE_SET: dict[str, Any] = {"datumSetSpec": {"perWorker": 1}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    one = Bench(tmp_path)
    one.put("a", "1")
    return one


def written(root: Path) -> str:
    files = (path for path in root.rglob("*") if path.is_file())
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def test_no_secret_is_left_in_the_state(bench: Bench) -> None:
    bench.mapping["environment"] = SECRETS
    script = """
        env >&2; cat /pfs/.env >&2
        echo "cannot read sftp://me:S3CRETbucket@host/x nor https://b/x?X-Goog-Signature=S3CRETsigned&y=1" >&2
        exit 1
    """
    job = bench.run(spec("leak", "src", script, datumTries=2))["leak"]
    assert job.state == "failure"
    assert "sftp://***@host/x" in job.reason
    assert "S3CRET" not in written(bench.root)


def test_batched_logs_hold_no_secret_either(bench: Bench) -> None:
    bench.mapping["environment"] = SECRETS
    transform = {"cmd": ["sh", "-c", "env >&2; exit 1"], "stdin": None, "datumBatching": True}
    assert bench.run(spec("leak", "src", "", transform=transform, **ONE_SET))["leak"].state == "failure"
    assert "S3CRET" not in written(bench.root)


def test_short_values_do_not_cut_words_to_pieces() -> None:
    redaction = Redaction({"PGPASSWORD": "a", "API_KEY": "/var/secrets/key.json", "MODEL": "distilbert"})
    assert redaction.text("a bad day for distilbert in /var/secrets/key.json") == (
        "a bad day for distilbert in /var/secrets/key.json"
    )


def test_only_this_user_reads_the_state(bench: Bench) -> None:
    look = f"stat -c %a /pfs/.env {bench.root}/work {bench.root}/jobs {bench.root}/repos > /pfs/out/modes"
    bench.run(spec("look", "src", look))
    assert bench.files("look")["/modes"].split() == ["600", "700", "700", "700"]
    assert not (bench.root / "work").exists()


def test_what_a_killed_runner_left_goes_with_the_next_start(bench: Bench) -> None:
    sockets = bench.folder / "sockets"
    sockets.mkdir()
    (bench.root / "work/x/pfs").mkdir(parents=True)
    (bench.root / "work/x/pfs/.env").write_text("DATABASE_URL=S3CRET")
    (bench.root / "work/sockets").symlink_to(sockets)
    bench.run(spec("copy", "src", COPY))
    assert not (bench.root / "work").exists()
    assert not sockets.exists()


def test_the_socket_is_for_this_user_only(bench: Bench) -> None:
    client = bench.folder / "client.py"
    client.write_text("""
import grpc, os, stat
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.wrappers_pb2 import StringValue
socket = os.environ["ANSWERMILL_WORKER_SOCKET"]
ask = grpc.insecure_channel("unix:" + socket).unary_unary(
    "/pachyderm.worker.Worker/NextDatum", StringValue.SerializeToString, FieldMask.FromString)
while True:
    os.environ.update(item.split("=", 1) for item in ask(StringValue()).paths)
    mode = stat.S_IMODE(os.stat(os.path.dirname(socket)).st_mode)
    with open(os.path.dirname(os.path.dirname(os.environ["in"])) + "/out/mode", "w") as file:
        file.write(oct(mode))
""")
    transform = {"cmd": ["python", str(client)], "stdin": None, "datumBatching": True}
    bench.run(spec("batch", "src", "", transform=transform, **ONE_SET))
    assert bench.files("batch") == {"/mode": "0o700"}


@pytest.mark.parametrize(
    ("peer", "uid", "expected"),
    [
        ("unix:", 1, True),
        ("ipv4:127.0.0.1:258", os.geteuid(), True),
        ("ipv4:127.0.0.1:258", os.geteuid() + 1, False),
        ("ipv4:127.0.0.1:259", os.geteuid(), False),
        ("ipv4:127.0.0.1:", os.geteuid(), False),
        ("", os.geteuid(), False),
    ],
)
def test_a_port_serves_processes_of_this_user(tmp_path: Path, peer: str, uid: int, expected: bool) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    line = f"   0: 0100007F:0102 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 {uid:5} 0 1065 1\n"
    (tmp_path / "tcp").write_text(head + line)
    assert is_own_caller(peer, 0x1F90, [tmp_path / "tcp", tmp_path / "missing"]) is expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_a_datum(bench: Bench) -> None:
    client = bench.folder / "thief.py"
    client.write_text("""
import grpc, os, sys
channel = grpc.insecure_channel("localhost:" + os.environ["PPS_WORKER_GRPC_PORT"])
ask = channel.unary_unary("/pachyderm.worker.Worker/NextDatum")
os.setuid(65534)
try:
    ask(b"", wait_for_ready=True)
except grpc.RpcError as error:
    sys.exit(error.details())
""")
    transform = {"cmd": ["python", str(client)], "stdin": None, "datumBatching": True}
    job = bench.run(spec("batch", "src", "", transform=transform, **ONE_SET))["batch"]
    assert "this worker serves its own user code" in job.reason


@pytest.mark.parametrize(
    "script",
    [
        "rm -rf /pfs/out; ln -s {victim} /pfs/out",
        "rm -rf /pfs/out; echo hi > /pfs/out",
        "rm -rf /pfs/out; mkdir /pfs/out; echo hi > /pfs/out/x",
        "real=$(readlink -f /pfs/out); rm -rf $real; ln -s {victim} $real",
        "real=$(readlink -f /pfs/out); rm -rf $real; echo hi > $real",
        "rm -rf $(readlink -f /pfs/out)",
        "rm -rf /pfs/out",
    ],
)
def test_an_out_that_was_replaced_fails_its_datum_alone(bench: Bench, script: str) -> None:
    bench.put("b", "1")
    victim = bench.folder / "victim"
    victim.mkdir()
    (victim / "tool").write_text("x")
    (victim / "tool").chmod(0o755)
    evil = f'cp $in /pfs/out/; if test "$(basename $in)" = a; then {script.format(victim=victim)}; fi'
    job = bench.run(spec("evil", "src", evil, datumTries=1), spec("other", "src", COPY))
    assert (job["evil"].state, job["other"].state) == ("failure", "success")
    assert bench.states("evil") == {"/a": "failed", "/b": "processed"}
    assert "/pfs/out was removed or replaced" in bench.results("evil")["/a"].error
    assert stat.S_IMODE((victim / "tool").stat().st_mode) == 0o755
    assert (victim / "tool").stat().st_nlink == 1


def test_an_output_with_a_second_name_is_copied(bench: Bench) -> None:
    outside = bench.folder / "outside"
    outside.write_text("before")
    bench.run(spec("hard", "src", f"ln {outside} /pfs/out/x"))
    outside.write_text("after")
    assert bench.files("hard") == {"/x": "before"}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_hidden_files_are_collected_as_on_a_cluster(bench: Bench) -> None:
    """Whoever leaves a half-written file behind and succeeds must notice it here."""
    bench.run(spec("half", "src", "echo 1 > /pfs/out/.x.partial; echo 1 > /pfs/out/.hidden; echo 1 > /pfs/out/x"))
    assert bench.files("half").keys() == {"/.x.partial", "/.hidden", "/x"}


STRAY = "setsid sh -c 'echo $$ > {pid}; exec sleep 600' > /dev/null 2>&1 & while ! test -s {pid}; do sleep 0.01; done"


def test_grandchildren_in_their_own_session_end_with_the_datum(bench: Bench) -> None:
    pid = bench.folder / "pid"
    bench.run(spec("stray", "src", STRAY.format(pid=pid)))
    assert bench.states("stray") == {"/a": "processed"}
    assert gone(int(pid.read_text()))


def test_grandchildren_end_with_a_killed_runner(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    pid = tmp_path / "pid"
    shell.write(spec("stray", "src", STRAY.format(pid=pid) + "; sleep 600"))
    (shell.source / "a").write_text("1")
    with shell.started() as runner:
        until(lambda: pid.exists() and pid.read_text() != "")
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    assert gone(int(pid.read_text()))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_snapshot_too(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A file without content of 40 GB takes a minute to hash; what counts is that it is not waited for."""
    shell = Shell(tmp_path)
    shell.write(spec("copy", "src", COPY))
    with (shell.source / "huge").open("wb") as file:
        file.truncate(40 << 30)
    with shell.started() as runner:
        until((tmp_path / "root/work").exists)
        time.sleep(0.3)
        runner.send_signal(number)
        assert runner.wait(30) == code
    assert shell.do(shell.words("status")).returncode == 0


def test_a_nul_in_a_command_fails_the_datum(bench: Bench) -> None:
    job = bench.run(spec("nul", "src", "", transform={"cmd": ["echo", "a\0b"]}, datumTries=1))["nul"]
    assert job.state == "failure"
    assert "holds a NUL character" in job.reason


def test_a_terminal_obeys_no_log(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    script = r"printf '\033]0;PWNED\a\033[31mred\n' >&2; exit 1"
    shell.write(spec("bad", "src", script, datumTries=1))
    (shell.source / "a").write_text("1")
    shown = [shell.run().stderr, shell.show("status"), shell.show("status", "bad"), shell.show("logs", "bad")]
    for text in shown:
        assert "\x1b" not in text and "\a" not in text
        assert r"\x1b[31mred" in text


def test_stages_have_no_secret_on_their_command_line(bench: Bench) -> None:
    bench.mapping["environment"] = SECRETS
    bench.run(spec("look", "src", "cat /proc/$PPID/cmdline /proc/$$/cmdline | tr -d '\\0' > /pfs/out/x"))
    assert "S3CRET" not in bench.files("look")["/x"]
