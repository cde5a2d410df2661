"""The reference: the question-answering pipeline of transformers 4.57, on torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, QuestionAnsweringPipeline

from runtime import Answerer, Decoding

Pair = tuple[str, str]


def reference_pipeline(checkpoint: Path) -> Any:
    """The pipeline on a checkpoint, in fp32."""
    model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, dtype=torch.float32)
    return QuestionAnsweringPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(checkpoint))  # type: ignore[no-untyped-call]


def assert_same_answers(reference: Any, answerer: Answerer, pairs: Sequence[Pair], decoding: Decoding) -> None:
    """Same texts and places, scores within 1e-4."""
    options = {name: getattr(decoding, name) for name in Decoding.__dataclass_fields__}
    for (question, context), found in zip(pairs, answerer.rank(pairs, decoding), strict=True):
        try:
            wanted = reference(question=question, context=context, **options)
        except ValueError as error:
            # The reference cannot sort when a window has exactly as many token pairs as it wants candidates.
            assert "out of bounds" in str(error)
            assert len(found) >= 1
            continue
        wanted = wanted if isinstance(wanted, list) else [wanted]
        assert [(a.text, a.start, a.end) for a in found] == [(w["answer"], w["start"], w["end"]) for w in wanted]
        assert [a.score for a in found] == pytest.approx([w["score"] for w in wanted], abs=1e-4)
