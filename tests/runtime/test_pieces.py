"""A long context has the tokens that it has when a tokenizer other than BERT's is given it whole."""

from collections.abc import Callable
from functools import cache
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.processors import RobertaProcessing

from runtime import pieces as pieces_module
from runtime.byte_cuts import ByteCuts
from runtime.pieces import Cutter
from runtime.tokens import is_longer, tokenize
from tests.support.charsmap import SAMPLE, charsmap
from tests.support.families import FAMILIES

WORDS = [
    *("a.b", "a.", ".b", "-x", "x-", "東。", "1a", "a1", "!s", "!'s", "a_b"),
    *("a", "rain", "Malmö", "foo", "bar", "ba", "XA", "X", "ß", "İ", "ſ", "Ω", "1", "²", "½", "٣"),
    # Marks, and what else joins its neighbours in a cluster: on both sides, to the right, to the left.
    *("e\u0301", "\u0301", "\u0345", "\u200d", "\u0600", "\u0d4e", "\U000110bd", "\u0e33", "\u0eb3", "\uff9e"),
    *("\u1100\u1161", "\u1100", "\u1161", "가각", "क्ष", "東京", "東", "。", "😀", "👨\u200d🚀"),
    *("\xa0", "\u3000", "\t", "\n", "\x0b", "\x1c", "\x85", "\u200b", "\ufeff", "\ufffd", "\xad", "\x01", "\x00"),
    *("'", "'s", "'ll", "n't", "``", "''", "-", "...", "…", "▁", "▁▁"),
    *("<mask>", "<s>", "<ma", "sk>", "[MASK]", "[SEP", "ﬁ", "\ufe70", "\u037a", "ŉ", "Ａ", "ﷺ"),
]
BLANKS = st.sampled_from(["", " ", " ", "  "])
TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), BLANKS).map("".join), min_size=1, max_size=40).map("".join)
ADDED = [
    AddedToken("foo", lstrip=True, normalized=False),
    AddedToken("XA", normalized=True),
    AddedToken("bar", single_word=True),
    AddedToken("ba", single_word=True, normalized=False),
]
PRECOMPILED = normalizers.Precompiled(charsmap(SAMPLE))
RUNS = normalizers.Replace(Regex(" {2,}"), "▁")
QUOTES = [normalizers.Replace(quotes, '"') for quotes in ("``", "''")]
SPLITS = pre_tokenizers.WhitespaceSplit()


@cache
def trained(name: str) -> str:
    return str(FAMILIES[name][2]().backend_tokenizer.to_str())


def family(name: str) -> Tokenizer:
    return Tokenizer.from_str(trained(name))


def unigram(normalizer: object = None, pre_tokenizer: object = None) -> Tokenizer:
    tokenizer = family("xlm-roberta")
    tokenizer.normalizer = normalizer or tokenizer.normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or tokenizer.pre_tokenizer
    return tokenizer


def prefixed() -> Tokenizer:
    tokenizer = family("roberta")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=True)
    return tokenizer


def composed() -> Tokenizer:
    tokenizer = family("roberta")
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = family("roberta")
    tokenizer.add_tokens([AddedToken("foo", lstrip=True), *(AddedToken(text) for text in ("a.b", "-x", "東。"))])
    return tokenizer


# As transformers' converters make them.
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "RoBERTa": lambda: family("roberta"),
    "with added tokens": byte_level,
    "with a prefix": prefixed,
    "composed": composed,
    "Unigram": lambda: family("xlm-roberta"),
    "XLM-RoBERTa": lambda: unigram(PRECOMPILED, pre_tokenizers.Sequence([SPLITS, pre_tokenizers.Metaspace()])),
    "converted": lambda: unigram(normalizers.Sequence([PRECOMPILED, normalizers.Strip(left=False), RUNS])),
    "DeBERTa": lambda: unigram(normalizers.Sequence([normalizers.Lowercase(), normalizers.Strip(), PRECOMPILED, RUNS])),
    "ALBERT": lambda: unigram(
        normalizers.Sequence([*QUOTES, normalizers.NFKD(), normalizers.StripAccents(), PRECOMPILED, RUNS])
    ),
    "first": lambda: unigram(None, pre_tokenizers.Metaspace(prepend_scheme="first")),
    "first word": lambda: unigram(
        None, pre_tokenizers.Sequence([SPLITS, pre_tokenizers.Metaspace(prepend_scheme="first")])
    ),
    "never": lambda: unigram(None, pre_tokenizers.Metaspace(prepend_scheme="never")),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]()


@pytest.fixture(scope="module")
def with_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.add_tokens(ADDED)
    return copy


@given(TEXTS, st.sampled_from([1, 3, 7, 30]))
@settings(deadline=None, max_examples=60)
def test_tokens_are_those_of_the_whole_context(
    tokenizer: Tokenizer, with_added_tokens: Tokenizer, text: str, piece: int
) -> None:
    """With their places and words, whatever stands at the cuts."""
    for each in (tokenizer, with_added_tokens):
        assert_same_tokens(each, f"{text}a", piece)


def test_every_letter_and_digit_cuts_without_a_trace() -> None:
    """Beside another one, before a blank that has a mark."""
    tokenizer = TOKENIZERS["converted"]()
    letters = [char for char in map(chr, range(0x10000)) if char.isalnum()]
    for first in range(0, len(letters), 5000):
        some = letters[first : first + 5000]
        assert assert_same_tokens(tokenizer, "".join(f"x{char} \u0301{char}x " for char in some), 1) > 9000


def assert_same_tokens(tokenizer: Tokenizer, text: str, piece: int) -> int:
    """How many further pieces there were."""
    cutter = Cutter.of(tokenizer)
    assert cutter
    whole = tokenizer.encode("Who?", text)
    with mock.patch.object(pieces_module, "PIECE_CHARS", piece):
        row = tokenize(tokenizer, "Who?", text, cutter)
    assert row.ids().tolist() == whole.ids
    assert row.type_ids().tolist() == whole.type_ids
    context = [token for token, sequence in enumerate(whole.sequence_ids) if sequence == 1]
    offsets, numbers = whole.offsets, whole.word_ids
    assert [row.chars(token) for token in context] == [offsets[token] for token in context]
    assert [row.word(token) for token in context] == [numbers[token] for token in context]
    return len(row._others)


def test_bytes_are_cut_where_no_blank_is() -> None:
    """But for tokenizers that put a blank before a text, or that look around an added token."""
    cutters = [
        ByteCuts.of(TOKENIZERS[name]()) for name in ("RoBERTa", "with added tokens", "with a prefix", "composed")
    ]
    assert [cutter is not None for cutter in cutters] == [True, True, False, False]
    text = "東京、大阪。" * 20
    assert assert_same_tokens(TOKENIZERS["RoBERTa"](), text, 7) > 10
    for token in (AddedToken("foo", single_word=True), AddedToken("foo", rstrip=True)):
        tokenizer = TOKENIZERS["RoBERTa"]()
        tokenizer.add_tokens([token])
        assert ByteCuts.of(tokenizer) is None


def test_a_text_whose_offsets_are_shifted_is_not_cut() -> None:
    """A control character that is removed at its beginning makes all of them too low, of the whole text only."""
    tokenizer = TOKENIZERS["converted"]()
    for text, pieces in (("rain and snow", 3), ("\x01rain and snow", 1), ("rain and <s>\x0b snow", 1)):
        cutter = Cutter.of(tokenizer)
        assert cutter
        with mock.patch.object(pieces_module, "PIECE_CHARS", 2):
            assert len(list(cutter.pieces(text))) == pieces
        assert_same_tokens(tokenizer, text, 2)


def test_a_long_question_is_counted_to_the_token(tokenizer: Tokenizer) -> None:
    question = "Who called at noon? " * 200
    count = len(tokenizer.encode(question, add_special_tokens=False))
    cutter = Cutter.of(tokenizer)
    assert cutter
    with mock.patch.object(pieces_module, "PIECE_CHARS", 50), mock.patch("runtime.tokens.PIECE_CHARS", 50):
        assert not is_longer(tokenizer, cutter, question, count)
        assert is_longer(tokenizer, cutter, question, count - 1)


# Tokenizers for which nothing is proven: a tokenizer's attribute and what it has there, or an added token.
REFUSED: dict[str, tuple[str, object]] = {
    "a mark before each text": ("normalizer", normalizers.Sequence([normalizers.Prepend("▁"), RUNS])),
    "a blank replaced": ("normalizer", normalizers.Replace("b c", "bc")),
    "a blank made a byte": ("normalizer", normalizers.ByteLevel()),
    "no words": ("pre_tokenizer", None),
    "bytes that are no words": ("pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False)),
    "words together": ("pre_tokenizer", pre_tokenizers.Metaspace(split=False)),
    "another mark": ("pre_tokenizer", pre_tokenizers.Metaspace(replacement="b")),
    "other words": ("pre_tokenizer", pre_tokenizers.Sequence([SPLITS, pre_tokenizers.Digits()])),
    "rstrip": ("", AddedToken("foo", rstrip=True)),
    "a blank in an added token": ("", AddedToken("x y")),
    "a blank at its end": ("", AddedToken("x\u3000")),
    "an added token of nothing": ("", AddedToken("\x01", normalized=True)),
    "the lead": ("", AddedToken("a")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_proven_is_read_whole(name: str) -> None:
    tokenizer = TOKENIZERS["Unigram"]()
    part, value = REFUSED[name]
    if part:
        setattr(tokenizer, part, value)
    else:
        tokenizer.add_tokens([value])
    assert Cutter.of(tokenizer) is None
