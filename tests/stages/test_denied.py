"""Commands that may not read or write a place: the folder, the user and the remedy are named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.loading import write_version

# Root may do all; without these it is a user as others are.
RIGHTS = "-dac_override,-dac_read_search"
DROP = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"] if os.geteuid() == 0 else []
SPEC = '{"pipeline": {"name": "p"}, "transform": {"cmd": ["true"]}, "input": {"pfs": {"repo": "in", "glob": "/*"}}}'


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["ingest", "in", "shut/out"], "shut"),
        (["ingest", "in", "shut"], "shut"),
        (["ingest", "shut/in", "out"], "shut/in"),
        (["view", "in", "--output", "shut/page.html"], "shut"),
        (["view", "shut/a.csv", "--output", "page.html"], "shut/a.csv"),
        (["compare", "in", "shut/in"], "shut/in"),
        (["compare", "in/a.csv", "shut/a.csv"], "shut/a.csv"),
        (["run", "p.json", "--repo", "in=in", "--root", "shut/root"], "shut"),
        (["answer", "in", "shut/out", "--model", "{model}"], "shut"),
        (["answer", "shut/a.csv", "out", "--model", "{model}"], "shut/a.csv"),
    ],
)
def test_a_denied_place_is_named_with_its_remedy(
    tmp_path: Path, int8_bundle: Path, words: list[str], place: str
) -> None:
    """Only the hidden name of a file that was to be written, and "Permission denied", was told."""
    write_version(tmp_path / "in/a.csv", "one", 3)
    write_version(tmp_path / "shut/a.csv", "one", 3).chmod(0)
    (tmp_path / "shut/in").mkdir(mode=0)
    (tmp_path / "p.json").write_text(SPEC)
    (tmp_path / "shut").chmod(0o555)
    command = [*DROP, sys.executable, "-m", "answermill", *(word.format(model=int8_bundle) for word in words)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    (tmp_path / "shut").chmod(0o755)
    told = f"{place}: Permission denied; give the user "
    assert done.returncode == 1, done.stderr
    assert any(told in line.replace(f"{tmp_path}/", "") for line in done.stderr.splitlines()), done.stderr
    assert "the right to it (chmod or chown), or choose another path" in done.stderr
    assert "partial" not in done.stderr
    assert "Traceback" not in done.stderr
