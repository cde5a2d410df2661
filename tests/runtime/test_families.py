"""Every supported family, from a checkpoint to the reference's answers."""

from pathlib import Path
from unittest import mock

import pytest

from export.checkpoint import find
from export.evaluation import Row
from export.pipeline import export
from export.request import ExportRequest
from export.thresholds import Thresholds
from runtime import Answerer, Decoding, pieces
from tests.support.families import FAMILIES, write_checkpoint
from tests.support.oracle import assert_same_answers, reference_pipeline
from tests.support.rows import NASTY, answerable_pairs

PAIRS = answerable_pairs()[::24] + [pair for name, pair in NASTY.items() if name not in ("long question", "long word")]
# One of each kind of tokenizer and position; the whole list takes two minutes more.
ALWAYS = ("distilbert", "roberta", "xlm-roberta")
OPTIONS = [
    Decoding(max_seq_len=192, doc_stride=96, top_k=3),
    Decoding(max_seq_len=128, doc_stride=32, top_k=1, handle_impossible_answer=True, align_to_words=False),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", [f if f in ALWAYS else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES])
def test_family_is_exported_and_answers_as_the_reference(family: str, tmp_path: Path) -> None:
    """Also where a context is tokenized in pieces."""
    folder = write_checkpoint(family, tmp_path / family)
    rows = [Row(question, context, ()) for question, context in PAIRS[:4]]
    manifest = export(find(str(folder), None), tmp_path / "model", ExportRequest(None, rows, Thresholds()))
    assert manifest.architecture == family
    answerer = Answerer.load(tmp_path / "model")
    reference = reference_pipeline(folder)
    for decoding in OPTIONS:
        assert_same_answers(reference, answerer, PAIRS, decoding)
        whole = list(answerer.rank(PAIRS, decoding))
        with mock.patch.object(pieces, "PIECE_CHARS", 50):
            assert list(answerer.rank(PAIRS, decoding)) == whole
