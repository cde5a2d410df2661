"""A text without a blank has the tokens that it has when the tokenizer is given it whole."""

from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.normalizers import BertNormalizer

from runtime import pieces as pieces_module
from runtime.decoding import Decoding
from runtime.pieces import Cutter
from runtime.windows import Windower
from tests.conftest import CHECKPOINT

# Each as a sample of what stands without a blank: letters, what is dropped, what moves, what becomes something else.
SCRIPTS = {
    "Hangul": "가각힣뷁한",
    "Jamo": "\u1112\u1161\u11ab\u302e\u302f",
    "kana": "かが\u304b\u3099ツ゚",
    "Thai": "กำ\u0e33ไท\u0e49\u0e38",
    "Tibetan": "\u0f40\u0f71\u0f72\u0f74\u0f0b\u0f73",
    "Arabic": "\u0628\u064e\u0651\u0640\ufefb\u060c",
    "Hebrew": "\u05d0\u05b8\u05bc\u05be\ufb2a",
    "Devanagari": "\u0915\u093e\u094d\u0937\u093c\u0958",
    "Balinese": "\u1b05\u1b44\u1b34\u1b06",
    "emoji": "👨\u200d🚀\ufe0f🇩🏽",
    "music": "\U0001d15e\U0001d164\U0001d165\U0001d16d",
    "Latin": "aéế\u0301\u0323\u031bİßſ",
    "Greek": "σς\u0390\u1f82\u0345\u037e\u0387\u1fef",
    "controls": "a\x01\x7f\u200b\ufeff\ufffd\x00\u00ad",
    "signs": "=\u2260\u226e\u0338-]\u2329\u166d\U000111c9",
    "ideographs": "東\uf900\U0002f800\U00030000\U000e0100",
    "blanks": " \t\n\x0b\x85\u2003\u2028\u3000",
    "private": "\ue000\U0010ffff\u0378\ufdd0",
}
TOKENS = ["[CLS]", "[SEP", "<e>", "ab", "=x", "\u2260y", "\u1100\u1161", "[\u0301\u0301x"]
LETTERS = st.one_of(*(st.text(st.sampled_from(letters), min_size=1, max_size=8) for letters in SCRIPTS.values()))
RUNS = st.builds(lambda letters, times: letters * times, LETTERS, st.integers(1, 60))
TEXTS = st.lists(st.one_of(RUNS, RUNS, LETTERS, st.sampled_from(TOKENS)), min_size=1, max_size=8).map("".join)


@pytest.fixture(scope="module", params=["uncased", "cased", "added", "normalized"])
def tokenizer_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped tokenizer, for which a word is too long from seven letters on."""
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    tokenizer.model.max_input_chars_per_word = 6
    if request.param == "cased":
        tokenizer.normalizer = BertNormalizer(lowercase=False)
    if request.param in ("added", "normalized"):
        is_normalized = request.param == "normalized"
        tokenizer.add_tokens([AddedToken(token, normalized=is_normalized) for token in TOKENS])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@given(TEXTS, st.sampled_from([16, 64, 200]))
@settings(deadline=None, max_examples=60)
def test_tokens_are_those_of_the_whole_text(tokenizer_file: Path, text: str, piece: int) -> None:
    """With their places and words, in whatever script, with whatever marks at the cuts."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    with mock.patch.object(pieces_module, "PIECE_CHARS", piece):
        windows = Windower(tokenizer, None, Decoding(max_seq_len=4096)).windows("Who?", f"{text}a")
    row, whole = windows[0].row, tokenizer.encode("Who?", f"{text}a")
    assert row.ids().tolist() == whole.ids
    context = [token for token, sequence in enumerate(whole.sequence_ids) if sequence == 1]
    assert [row.chars(token) for token in context] == [whole.offsets[token] for token in context]
    assert words([row.word(token) for token in context]) == words([whole.word_ids[token] for token in context])


def words(numbers: list[object]) -> list[bool]:
    """Whether each token is of the word that the token before it is of."""
    return [number is not None and number == before for before, number in pairwise(numbers)]


@pytest.mark.parametrize("script", ["Hangul", "Jamo", "Latin", "music"])
def test_a_long_question_is_shortened_like_a_context(tokenizer_file: Path, script: str) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    question = f"x{SCRIPTS[script] * 40}x"
    with mock.patch.object(pieces_module, "PIECE_CHARS", 64):
        windows = Windower(tokenizer, None, Decoding(max_seq_len=4096)).windows(question, "Ada")
    whole: Encoding = tokenizer.encode(question, "Ada")
    row = windows[0].row
    assert row.ids().tolist() == whole.ids
    assert [row.chars(token) for token in range(len(whole))] == whole.offsets


@pytest.mark.parametrize(
    "script", ["Hangul", "Jamo", "kana", "Thai", "Arabic", "Devanagari", "emoji", "music", "Latin"]
)
def test_most_of_a_long_word_is_left_out(script: str) -> None:
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    cutter = Cutter.of(tokenizer)
    assert cutter
    letters = SCRIPTS[script].replace("\u060c", "")
    assert len(cutter.shorten(letters * 40_000).text) < 5_000
