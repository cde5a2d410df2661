"""The export on the shipped checkpoint, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from export.checkpoint import DEFAULT_MODEL, DEFAULT_REVISION
from runtime import Answerer, Bundle
from runtime.errors import BundleError
from runtime.manifest import Manifest
from tests.conftest import CHECKPOINT, ROOT, SAMPLES


def export(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "export", *map(str, arguments)],
        cwd=ROOT,
        # A hub that refuses at once, so that no test waits for a network.
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def checkpoint_with(folder: Path, **changes: object) -> Path:
    """A copy of the shipped checkpoint with other values in its config.json."""
    shutil.copytree(CHECKPOINT, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_manifest_says_what_is_in_the_bundle(int8_bundle: Path) -> None:
    manifest = Bundle.open(int8_bundle).manifest
    assert manifest.source.checkpoint == "minilm-qa"
    assert manifest.source.licence == "apache-2.0"
    assert manifest.precision == "int8"
    assert manifest.verification is not None
    assert manifest.verification.agreement >= 0.9
    assert manifest.verification.torch_difference < 1e-3
    assert set(manifest.files) == {path.name for path in int8_bundle.iterdir()} - {"manifest.json"}
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_card_shows_the_figures_of_the_manifest(int8_bundle: Path) -> None:
    card = (int8_bundle / "README.md").read_text("utf-8")
    figures = Bundle.open(int8_bundle).manifest.verification
    assert figures is not None
    assert f"{figures.agreement:.1%}" in card
    assert "apache-2.0" in card


def test_weights_are_int8_within_seven_bits(int8_bundle: Path) -> None:
    model = onnx.load(int8_bundle / "model.onnx")
    weights = [onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.data_type == TensorProto.INT8]
    matrices = [weight for weight in weights if weight.ndim == 2]
    assert len(matrices) >= 25
    assert max(abs(int(matrix.min())) for matrix in matrices) <= 64
    assert max(int(matrix.max()) for matrix in matrices) <= 64


def test_changed_file_is_noticed(int8_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(int8_bundle, tmp_path / "copy")
    with (copy / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(BundleError, match=r"tokenizer\.json is not the file that was exported"):
        Answerer.load(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "manifest.json is damaged"),
        ("[]", "manifest.json is damaged"),
        ('{"format_version": 99}', "format version 99, this version of answermill reads 1"),
        ('{"format_version": 1, "source": 3}', "manifest.json is damaged"),
    ],
)
def test_unreadable_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        Bundle.open(tmp_path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused export says."""
    assert done.returncode == 1, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.endswith(" s"))
    return line


def test_default_model_without_a_hub_names_both_ways_on(tmp_path: Path) -> None:
    line = refusal(export("--output", tmp_path / "model", HF_HOME=str(tmp_path)))
    assert line.startswith(f"export: {DEFAULT_MODEL} is not in the cache, and no model hub can be reached")
    assert "MODEL=models/minilm-qa" in line
    assert "HF_HOME" in line
    assert not (tmp_path / "model").exists()


def test_default_model_is_taken_from_a_filled_cache(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / f"models--{DEFAULT_MODEL.replace('/', '--')}"
    shutil.copytree(CHECKPOINT, repository / "snapshots" / DEFAULT_REVISION)
    done = export("--output", tmp_path / "model", "--evaluate", SAMPLES / "medical-leaflets.csv", HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    source = Bundle.open(tmp_path / "model").manifest.source
    assert (source.checkpoint, source.revision) == (DEFAULT_MODEL, DEFAULT_REVISION)


def test_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    other = checkpoint_with(tmp_path / "other", architectures=["BertForSequenceClassification"])
    assert "checkpoint of another task (BertForSequenceClassification)" in refusal(export(other))


def test_checkpoint_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = checkpoint_with(tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "qa_outputs" not in k}, folder / "model.safetensors")
    assert "the weights lack qa_outputs.bias, qa_outputs.weight" in refusal(export(folder))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./none", "./none: no such folder"),
        ("a/b/c", "a/b/c: no such folder"),
        ("not an id", "neither a folder nor a hub id"),
        (SAMPLES, "no weights; a checkpoint has"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, model: object, message: str) -> None:
    assert message in refusal(export(model, "--output", tmp_path / "model", HF_HOME=str(tmp_path)))


def test_bundle_below_its_threshold_is_not_written(tmp_path: Path) -> None:
    rows = SAMPLES / "encyclopedia.csv"
    line = refusal(export(CHECKPOINT, "--output", tmp_path / "model", "--evaluate", rows, "--min-agreement", 1.01))
    assert "the bundle is not written: answers agree with fp32 on" in line
    assert list(tmp_path.iterdir()) == []


def test_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    line = refusal(export(CHECKPOINT, "--output", tmp_path, "--evaluate", SAMPLES / "encyclopedia.csv"))
    assert "is not empty and holds no bundle" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "seconds", [pytest.param(1, marks=pytest.mark.slow), 6, pytest.param(12, marks=pytest.mark.slow)]
)
def test_killed_export_leaves_no_bundle(tmp_path: Path, seconds: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "export", CHECKPOINT, "--output", tmp_path / "model"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
