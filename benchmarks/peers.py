"""Ours and the peers: each prepared once in a folder, then run as a process of its own.

A peer is a function from the folder and the rows to answers, lazily, so that the first answer can be timed.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

Pair = tuple[str, str]
CHECKPOINT = "checkpoint"
# The ratio with which this share of the rows is looked at again, as of the shipped checkpoint's on XQuAD. The bundle's
# own ratio says nothing here: answers of random weights are all near ties, or none.
RATIO, LOOKED_AT_AGAIN = "second-look.json", 0.1


def answermill(precision: str, *, second_look: bool = False) -> Callable[[Path, Sequence[Pair]], Iterator[object]]:
    """The project's own runtime."""

    def run(folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
        from runtime import Answerer

        bundle = folder / f"answermill-{precision}"
        if not second_look:
            return Answerer.load(bundle, second_look="off").answer(rows)
        return Answerer.load(bundle, second_look=json.loads((folder / RATIO).read_text("utf-8"))).answer(rows)

    return run


def transformers(batch: int) -> Callable[[Path, Sequence[Pair]], Iterator[object]]:
    """The pipeline of transformers 4.57 on torch."""

    def run(folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
        from transformers import pipeline

        model = str(folder / CHECKPOINT)
        ask = pipeline("question-answering", model=model, tokenizer=model)
        return _ask(ask, rows, batch)

    return run


def optimum(precision: str, batch: int) -> Callable[[Path, Sequence[Pair]], Iterator[object]]:
    """The same pipeline on onnxruntime, by way of optimum."""

    def run(folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
        from optimum.onnxruntime import ORTModelForQuestionAnswering
        from transformers import AutoTokenizer, pipeline

        file = "model_quantized.onnx" if precision == "int8" else "model.onnx"
        model = ORTModelForQuestionAnswering.from_pretrained(folder / f"optimum-{precision}", file_name=file)
        tokenizer = AutoTokenizer.from_pretrained(folder / CHECKPOINT)  # type: ignore[no-untyped-call]
        return _ask(pipeline("question-answering", model=model, tokenizer=tokenizer), rows, batch)

    return run


def ctranslate2(folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
    """CTranslate2 in int8, two workers of one thread, with this project's tokenizing and decoding."""
    import ctranslate2 as library

    encoder = library.Encoder(str(folder / "ctranslate2"), inter_threads=2, intra_threads=1)
    weights = np.load(folder / "ctranslate2/head.npz")

    def logits(ids: np.ndarray) -> np.ndarray:
        output = encoder.forward_batch(ids.tolist()).last_hidden_state
        return np.asarray(np.array(output)[0] @ weights["weight"].T + weights["bias"])

    return _decode(folder, rows, logits)


def openvino(precision: str) -> Callable[[Path, Sequence[Pair]], Iterator[object]]:
    """OpenVINO, two streams, with this project's tokenizing and decoding."""

    def run(folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
        import openvino as library

        model = library.Core().compile_model(
            folder / f"openvino-{precision}.xml", "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "2"}
        )

        def logits(ids: np.ndarray) -> np.ndarray:
            result = model.create_infer_request().infer({"input_ids": ids, "attention_mask": np.ones_like(ids)})
            return np.stack([result[output][0] for output in model.outputs], -1)

        return _decode(folder, rows, logits)

    return run


# Name -> (package that must be there, the peer).
PEERS: dict[str, tuple[str, Callable[[Path, Sequence[Pair]], Iterator[object]]]] = {
    "answermill int8": ("onnxruntime", answermill("int8")),
    "answermill int8 + second look": ("onnxruntime", answermill("int8", second_look=True)),
    "answermill fp32": ("onnxruntime", answermill("fp32")),
    "transformers fp32, row by row": ("transformers", transformers(1)),
    "transformers fp32, batch 32": ("transformers", transformers(32)),
    "optimum int8, row by row": ("optimum", optimum("int8", 1)),
    "optimum int8, batch 16": ("optimum", optimum("int8", 16)),
    "optimum fp32, row by row": ("optimum", optimum("fp32", 1)),
    "ctranslate2 int8": ("ctranslate2", ctranslate2),
    "openvino int8": ("nncf", openvino("int8")),
    "openvino fp32": ("openvino", openvino("fp32")),
}


def _ask(ask: Any, rows: Sequence[Pair], batch: int) -> Iterator[object]:
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        answers = ask(question=[q for q, _ in some], context=[c for _, c in some], batch_size=batch)
        yield from answers if isinstance(answers, list) else [answers]


def _decode(folder: Path, rows: Sequence[Pair], logits: Callable[[np.ndarray], np.ndarray]) -> Iterator[object]:
    from runtime.answer import ranked_answers
    from runtime.decoding import Decoding
    from runtime.manifest import Manifest
    from runtime.spans import candidate_spans
    from runtime.windows import Windower

    bundle = folder / "answermill-fp32"
    cls = Manifest.from_json((bundle / "manifest.json").read_text("utf-8")).inputs.cls_token_id
    decoding = Decoding()
    windower = Windower(bundle / "tokenizer.json", cls, decoding)

    def one(row: Pair) -> object:
        candidates = []
        for window in windower.windows(*row):
            start, end = np.ascontiguousarray(logits(window.ids).T, np.float32)
            spans = candidate_spans(
                start, end, window.allowed, count=decoding.candidates, max_answer_len=decoding.max_answer_len
            )
            candidates.append((spans, window))
        return ranked_answers(row[1], candidates, decoding)[0]

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(one, rows)


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

    ratios = [ranking.ratio for ranking in Answerer.load(folder / "answermill-int8", second_look="off").rankings(rows)]
    ratio = min(float(np.quantile(ratios, 1 - LOOKED_AT_AGAIN)), 1.0)
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


def run_peer(name: str, folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
    """Answers of one peer. Hubs stay out of it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    return PEERS[name][1](folder, rows)
