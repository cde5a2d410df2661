"""Where checkpoints come from: forms of a folder, and what a hub may say."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import load_file, save_file

from export import checkpoint, pipeline
from export.evaluation import read_rows
from export.request import ExportRequest
from export.thresholds import Thresholds
from runtime import Bundle
from runtime.errors import ExportError
from tests.conftest import CHECKPOINT, SAMPLES
from tests.export.test_export import export, refusal

ROWS = SAMPLES / "encyclopedia.csv"


class Hub(BaseHTTPRequestHandler):
    """Says no, in the way that a hub says it: by status and a header. The repository's name is the reason."""

    def do_GET(self) -> None:
        status, code = {
            "gated": (403, "GatedRepo"),
            "absent": (401, "RepoNotFound"),
            "old": (404, "RevisionNotFound"),
            "broken": (500, ""),
        }[self.path.split("/")[4]]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("someone/gated", "someone/gated is gated: accept its terms on the hub, then set HF_TOKEN"),
        ("someone/absent", "someone/absent: no such model on the hub; for a private one set HF_TOKEN"),
        ("someone/old", "someone/old has no revision v9"),
        ("someone/broken", "someone/broken is not in the cache, and no model hub can be reached"),
    ],
)
def test_refusal_of_a_hub_is_told_by_its_reason(hub: str, tmp_path: Path, model: str, message: str) -> None:
    done = export(model, "--revision", "v9", "--output", tmp_path / "model", HF_ENDPOINT=hub, HF_HOME=str(tmp_path))
    assert message in refusal(done)
    assert not (tmp_path / "model").exists()


def test_weights_that_change_while_they_are_read_are_told(tmp_path: Path) -> None:
    """As under a training that goes on; the bundle would name weights that it was not made from."""
    folder = shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    source = checkpoint.find(str(folder), None)
    weights = load_file(folder / "model.safetensors")
    save_file({name: 1.01 * weight for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    request = ExportRequest(None, read_rows(ROWS), Thresholds())
    with pytest.raises(ExportError, match="its weights changed while they were read; export it again when"):
        pipeline.export(source, tmp_path / "model", request)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_torch_weights_and_a_vocabulary_do_as_well(tmp_path: Path) -> None:
    """pytorch_model.bin in the place of safetensors, and no fast tokenizer: it is converted."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "vocab.txt"):
        shutil.copy(CHECKPOINT / name, folder)
    torch.save(load_file(CHECKPOINT / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512})
    )
    done = export(folder, "--output", tmp_path / "model", "--evaluate", ROWS, "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "model/tokenizer.json").read_text("utf-8"))
    shipped = json.loads((CHECKPOINT / "tokenizer.json").read_text("utf-8"))
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        assert made[part] == shipped[part]
    assert made["model"]["vocab"] == shipped["model"]["vocab"]
    assert Bundle.open(tmp_path / "model").manifest.source.licence is None


@pytest.mark.slow
def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("NOT TESTED: a full disk, because this account may not mount a small tmpfs")
    try:
        line = refusal(export(CHECKPOINT, "--output", disk / "model", "--evaluate", ROWS))
        assert f"{disk}: 63 MB are free, and the export of minilm-qa needs" in line
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
