"""A checkpoint of random weights, and the form of it that each peer runs; each is made once, in a folder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Pair = tuple[str, str]
CHECKPOINT = "checkpoint"
# The ratio is the one with which this share of the rows is answered again, as with the shipped checkpoint on XQuAD. The
# bundle's own ratio says nothing here: answers of random weights are all near ties, or none.
RATIO, LOOKED_AT_AGAIN = "second-look.json", 0.1


def prepare(folder: Path, rows: Sequence[Pair], names: Sequence[str]) -> None:
    """Writes a DistilBERT-base checkpoint with random weights, and the named peers' forms of it, unless they are there.

    Ours are always written: others take their tokenizer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    libraries = {name.partition(" ")[0] for name in names}
    # OpenVINO converts optimum's graph.
    forms: dict[str, tuple[bool, Callable[[], None]]] = {
        CHECKPOINT: (True, lambda: random_checkpoint(folder / CHECKPOINT)),
        "answermill": (True, lambda: _export_ours(folder, rows)),
        "ratio": (True, lambda: _choose_ratio(folder, rows)),
        "optimum": (not libraries.isdisjoint(("optimum", "openvino")), lambda: _export_optimum(folder)),
        "ctranslate2": ("ctranslate2" in libraries and _there("ctranslate2"), lambda: _export_ctranslate2(folder)),
        "openvino": ("openvino" in libraries and _there("openvino"), lambda: _export_openvino(folder, rows)),
    }
    for form, (wanted, write) in forms.items():
        if wanted and not (folder / f"{form}.ready").exists():
            write()
            (folder / f"{form}.ready").touch()


def _there(package: str) -> bool:
    from benchmarks.machine import installed_version

    return installed_version(package) is not None


def random_checkpoint(folder: Path) -> None:
    """A DistilBERT-base with random weights, in a folder."""
    import torch
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertForQuestionAnswering

    torch.manual_seed(5)
    tokenizer = AutoTokenizer.from_pretrained("models/minilm-qa")  # type: ignore[no-untyped-call]
    # As DistilBERT's own tokenizer has it; the pipelines feed whatever this lists.
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = DistilBertConfig(vocab_size=len(tokenizer))  # type: ignore[no-untyped-call]
    model = DistilBertForQuestionAnswering(config)
    # Trained checkpoints have a few wide channels in every layer, and our int8 takes time to treat them; random ones
    # have none, and would flatter it.
    weights = model.state_dict()
    for layer in range(config.n_layers):
        for name, value in (("sa_layer_norm.weight", 8.0), ("output_layer_norm.weight", 8.0), ("ffn.lin1.bias", 16.0)):
            weights[f"distilbert.transformer.layer.{layer}.{name}"][7] = value
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _export_ours(folder: Path, rows: Sequence[Pair]) -> None:
    from export.__main__ import main

    sample = folder / "rows.json"
    questions = [{"context": c, "qas": [{"question": q, "answers": []}]} for q, c in rows[:8]]
    sample.write_text(json.dumps({"data": [{"paragraphs": questions}]}), "utf-8")
    for precision in ("fp32", "int8"):
        # Random weights: agreement is chance, and only speed is measured.
        arguments = ["--precision", precision, "--evaluate", str(sample), "--min-agreement", "0", "--quiet"]
        if main([str(folder / CHECKPOINT), "--output", str(folder / f"answermill-{precision}"), *arguments]):
            raise SystemExit(1)


def _choose_ratio(folder: Path, rows: Sequence[Pair]) -> None:
    from runtime import Answerer

    answerer = Answerer.load(folder / "answermill-int8", second_look="off")
    closeness = [ranking.closeness for ranking in answerer.rankings(rows)]
    ratio = min(float(np.quantile(closeness, 1 - LOOKED_AT_AGAIN)), 1.0)
    (folder / RATIO).write_text(json.dumps(ratio), "utf-8")


def _export_optimum(folder: Path) -> None:
    from optimum.onnxruntime import ORTModelForQuestionAnswering, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    model = ORTModelForQuestionAnswering.from_pretrained(folder / CHECKPOINT, export=True)
    model.save_pretrained(folder / "optimum-fp32")
    quantizer = ORTQuantizer.from_pretrained(folder / "optimum-fp32")
    preset = AutoQuantizationConfig.avx2(is_static=False, per_channel=False)
    quantizer.quantize(save_dir=folder / "optimum-int8", quantization_config=preset)


def _export_ctranslate2(folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter
    from safetensors.numpy import load_file

    TransformersConverter(str(folder / CHECKPOINT)).convert(
        str(folder / "ctranslate2"), quantization="int8", force=True
    )
    weights = load_file(folder / CHECKPOINT / "model.safetensors")
    head = folder / "ctranslate2/head.npz"
    np.savez(head, weight=weights["qa_outputs.weight"], bias=weights["qa_outputs.bias"])


def _export_openvino(folder: Path, rows: Sequence[Pair]) -> None:
    import openvino as library
    from tokenizers import Tokenizer

    model = library.convert_model(folder / "optimum-fp32/model.onnx")
    library.save_model(model, folder / "openvino-fp32.xml", compress_to_fp16=False)
    if not _there("nncf"):
        return
    import nncf

    tokenizer = Tokenizer.from_file(str(folder / "answermill-fp32/tokenizer.json"))
    tokenizer.enable_truncation(384)
    ids = [np.array([tokenizer.encode(*row).ids], np.int64) for row in rows[:100]]
    data = nncf.Dataset([{"input_ids": each, "attention_mask": np.ones_like(each)} for each in ids])
    quantized = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER)
    library.save_model(quantized, folder / "openvino-int8.xml")
