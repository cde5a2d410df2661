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

from benchmarks.preparing import CHECKPOINT, RATIO, Pair


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
    from tokenizers import Tokenizer

    from runtime.answer import ranked_answers
    from runtime.decoding import Decoding
    from runtime.manifest import Manifest
    from runtime.spans import candidate_spans
    from runtime.windows import Windower

    bundle = folder / "answermill-fp32"
    cls = Manifest.from_json((bundle / "manifest.json").read_text("utf-8")).inputs.cls_token_id
    decoding = Decoding()
    windower = Windower(Tokenizer.from_file(str(bundle / "tokenizer.json")), cls, decoding)

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


def run_peer(name: str, folder: Path, rows: Sequence[Pair]) -> Iterator[object]:
    """Answers of one peer. Hubs stay out of it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    return PEERS[name][1](folder, rows)
