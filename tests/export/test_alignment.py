"""Words that are whole sentences, and offsets that cut letters off."""

import json
from pathlib import Path

import pytest

from export.checkpoint import find
from export.evaluation import Row
from export.pipeline import export
from export.request import ExportRequest
from export.thresholds import Thresholds
from runtime import Answerer
from runtime.errors import ExportError
from tests.support.families import write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")

SENTENCES = (
    "東京は日本の首都であり、人口は約1400万人、面積は2194平方キロ、23の区と26の市がある。",
    "富士山は日本で最も高い山で、標高は3776メートル、1707年に噴火し、2013年に世界遺産になった。",
)
JAPANESE = [
    Row(question, context, ()) for context in SENTENCES for question in ("首都はどこですか", "高い山は何ですか")
]
ENGLISH = [Row("Who is here?", "Ada sat behind the door, and Bob was there with the others.", ())]


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("xlm-roberta", tmp_path_factory.mktemp("words") / "xlm-roberta")


@pytest.mark.parametrize(
    ("rows", "asked", "aligned"),
    [(JAPANESE, None, False), (JAPANESE, True, True), (ENGLISH, None, True), (ENGLISH, False, False)],
)
def test_answers_are_aligned_where_words_are_words(
    sentencepiece: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    rows: list[Row],
    asked: bool | None,
    aligned: bool,
) -> None:
    """Japanese has no blanks, so SentencePiece takes a sentence for a word: not aligned, unless asked for."""
    request = ExportRequest(None, rows, Thresholds(), align_to_words=asked)
    manifest = export(find(str(sentencepiece), None), tmp_path / "model", request)
    assert manifest.decoding.align_to_words is aligned
    assert ("answers are whole contexts" in caplog.text or "whole context" in caplog.text) is (
        asked is None and not aligned
    )
    answers = Answerer.load(tmp_path / "model").answer((row.question, row.context) for row in rows)
    whole = [answer.text == row.context for answer, row in zip(answers, rows, strict=True)]
    assert all(whole) is (rows is JAPANESE and aligned)


def test_offsets_that_cut_the_first_letter_off_are_refused(tmp_path: Path) -> None:
    """As RobBERT's do, whose answers begin inside a word. The remedy, followed, gives whole words."""
    folder = write_checkpoint("roberta", tmp_path / "robbert")
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, byte_level]}
    tokenizer["post_processor"] |= {"trim_offsets": True, "add_prefix_space": True}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    request = ExportRequest(None, ENGLISH, Thresholds())
    with pytest.raises(ExportError, match=r"offsets leave out \d+% of the letters.*set \"trim_offsets\" to false"):
        export(find(str(folder), None), tmp_path / "model", request)

    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "trim_offsets": False}), "utf-8")
    tokenizer["post_processor"]["trim_offsets"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    export(find(str(folder), None), tmp_path / "model", request)
    (answer,) = Answerer.load(tmp_path / "model").answer((row.question, row.context) for row in ENGLISH)
    assert answer.text
    assert answer.start is not None
    assert answer.start == 0 or not ENGLISH[0].context[answer.start - 1].isalnum()
