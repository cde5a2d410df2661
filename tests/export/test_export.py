"""The export on the shipped checkpoint, and what it refuses."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from export.checkpoint import DEFAULT_MODEL, DEFAULT_REVISION
from runtime import Answerer, Bundle
from runtime.cpu import cpu_flags
from runtime.decoding import Decoding
from runtime.errors import BundleError
from runtime.manifest import Inputs, Manifest, Provenance, Quantization, Verification
from tests.conftest import CHECKPOINT, ROOT, SAMPLES


def export(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "export", *map(str, arguments)],
        cwd=ROOT,
        # A hub that refuses at once, so that no test waits for a network.
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", **environment},
        input=stdin,
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


def test_int8_weights_stay_within_the_pair_limit(int8_bundle: Path) -> None:
    """Weights are int8, and two neighbouring ones at most 128 steps in sum."""
    graph = onnx.load(int8_bundle / "model.onnx").graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    products = [node for node in graph.node if "MatMul" in node.op_type and node.input[1] in constants]
    matrices = [constants[node.input[1]] for node in products if node.op_type != "MatMul"]
    assert len(matrices) == 36
    # Where inputs 2i and 2i + 1 are at most 128 in sum, 255 times that fits the 16 bits of a CPU without VNNI.
    assert all(matrix.dtype == np.int8 for matrix in matrices)
    assert all(np.abs(matrix.astype(int)).reshape(-1, 2, matrix.shape[1]).sum(1).max() <= 128 for matrix in matrices)
    # The head has two columns, and costs nothing in fp32.
    assert [node.name for node in products if node.op_type == "MatMul"] == ["/qa_outputs/MatMul"]


def test_large_fp32_tensors_are_not_left(int8_bundle: Path) -> None:
    graph = onnx.load(int8_bundle / "model.onnx").graph
    assert max(np.prod(each.dims) for each in graph.initializer if each.data_type == TensorProto.FLOAT) < 50_000
    assert (int8_bundle / "model.onnx").stat().st_size < 25e6


def test_no_constant_is_there_twice(int8_bundle: Path) -> None:
    graph = onnx.load(int8_bundle / "model.onnx").graph
    large = [onnx.numpy_helper.to_array(each).tobytes() for each in graph.initializer if np.prod(each.dims) > 1000]
    assert len(set(large)) == len(large)


def test_manifest_fits_its_schema(int8_bundle: Path) -> None:
    schema = json.loads((ROOT / "export/manifest.schema.json").read_text("utf-8"))
    manifest = json.loads((int8_bundle / "manifest.json").read_text("utf-8"))
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError, match="precision"):
        jsonschema.validate({**manifest, "precision": "int4"}, schema)


def test_schema_names_every_field_of_the_manifest() -> None:
    schema = json.loads((ROOT / "export/manifest.schema.json").read_text("utf-8"))
    parts = {"source": Provenance, "inputs": Inputs, "quantization": Quantization, "decoding": Decoding}
    parts |= {"verification": Verification}
    described = {name: schema["$defs"][name] for name in parts} | {"": schema}
    for name, kind in {**parts, "": Manifest}.items():
        fields = {field.name for field in dataclasses.fields(kind)}
        assert set(described[name]["properties"]) == set(described[name]["required"]) == fields


def test_exports_of_one_checkpoint_are_the_same_bytes(int8_bundle: Path, tmp_path: Path) -> None:
    done = export(CHECKPOINT, "--output", tmp_path / "model", "--evaluate", SAMPLES / "medical-leaflets.csv")
    assert done.returncode == 0, done.stderr
    for name in ("model.onnx", "tokenizer.json", "config.json"):
        assert (tmp_path / "model" / name).read_bytes() == (int8_bundle / name).read_bytes()


@pytest.mark.slow
def test_forced_bundle_says_what_it_misses(tmp_path: Path) -> None:
    rows = SAMPLES / "encyclopedia.csv"
    done = export(
        CHECKPOINT, "--output", tmp_path / "model", "--evaluate", rows, "--min-agreement", 1.01, "--force", "--quiet"
    )
    assert (done.returncode, done.stderr) == (0, "")
    figures = Bundle.open(tmp_path / "model").manifest.verification
    assert figures is not None
    (missed,) = figures.missed
    assert missed.startswith("answers agree with fp32 on")
    assert f"misses its thresholds: {missed}" in (tmp_path / "model/README.md").read_text("utf-8")


@pytest.mark.slow
def test_bundle_for_other_cpus_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = SAMPLES / "encyclopedia.csv"
    done = export(CHECKPOINT, "--output", tmp_path / "model", "--evaluate", rows, "--target", "arm64")
    assert done.returncode == 0, done.stderr
    manifest = Bundle.open(tmp_path / "model").manifest
    assert manifest.quantization is not None
    assert manifest.quantization.cpu_flags == ("asimddp",)
    warned = any("was verified on a CPU with asimddp, which this one lacks" in line for line in caplog.messages)
    assert warned is not ("asimddp" in cpu_flags())


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
    steps = (" s", "the fp32 answers to these rows are known")
    (line,) = (line for line in done.stderr.splitlines() if not line.endswith(steps))
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
    arguments = ["--output", tmp_path / "model", "--precision", "fp32", "--evaluate", SAMPLES / "encyclopedia.csv"]
    done = export(*arguments, HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    source = Bundle.open(tmp_path / "model").manifest.source
    assert (source.checkpoint, source.revision) == (DEFAULT_MODEL, DEFAULT_REVISION)


def test_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    other = checkpoint_with(tmp_path / "other", architectures=["BertForSequenceClassification"])
    assert "checkpoint for another task (BertForSequenceClassification)" in refusal(export(other))


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
    assert "is a file: choose another --output" in refusal(export(CHECKPOINT, "--output", tmp_path / "thesis.txt"))


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
