"""A row's windows, which are cut by our own hand, are those that tokenizers cuts."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer
from tokenizers.processors import RobertaProcessing

from runtime import pieces as pieces_module
from runtime.bert_cuts import BertCuts
from runtime.decoding import Decoding
from runtime.windows import UnanswerableRowError, Windower
from tests.conftest import CHECKPOINT, ROOT

WORDS = [
    "a",
    "rain",
    "unbelievable",
    "Malmö",
    "e\u0301",
    "😀",
    "[CLS]",
    "[SEP]",
    "東京",
    "東\u0301京。",
    "!\u0338",
    "\u200b",
    "\n",
    "don't",
    "1,000.5",
    "]",
    "<e>",
    "a\tb\u2003c",
    "\u00ab\u2026\u00bb",
    "\u3000",
    "\x0b",
]
TEXT = st.builds(
    lambda blank, words: blank.join(words),
    st.sampled_from([" ", ""]),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=60),
)
CLS = 101


@pytest.fixture(scope="module", params=["bert", "roberta"])
def tokenizer_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped tokenizer, with BERT's special tokens around a pair and with RoBERTa's four."""
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    if request.param == "roberta":
        tokenizer.post_processor = RobertaProcessing(("[SEP]", 102), ("[CLS]", CLS))
    path = tmp_path_factory.mktemp("tokenizer") / f"{request.param}.json"
    tokenizer.save(str(path))
    return path


def reference(tokenizer_file: Path, question: str, context: str, decoding: Decoding) -> list[Encoding]:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(decoding.max_seq_len, stride=decoding.doc_stride, strategy="only_second")
    first = tokenizer.encode(question, context)
    return [first, *first.overflowing]


@given(TEXT, TEXT, st.integers(20, 64), st.integers(0, 12), st.sampled_from([7, 40, 1 << 16]))
@settings(deadline=None)
def test_windows_are_those_of_tokenizers(
    tokenizer_file: Path, question: str, context: str, length: int, overlap: int, piece: int
) -> None:
    """However short the pieces are in which a context is tokenized."""
    decoding = Decoding(max_seq_len=length, doc_stride=overlap)
    windower = Windower(Tokenizer.from_file(str(tokenizer_file)), CLS, decoding)
    try:
        with mock.patch.object(pieces_module, "PIECE_CHARS", piece):
            windows = windower.windows(question, context)
    except UnanswerableRowError:
        return
    wanted = reference(tokenizer_file, question, context, decoding)
    assert [window.ids[0].tolist() for window in windows] == [encoding.ids for encoding in wanted]
    assert [window.type_ids[0].tolist() for window in windows] == [encoding.type_ids for encoding in wanted]
    for window, encoding in zip(windows, wanted, strict=True):
        allowed = [
            sequence == 1 or token == CLS for sequence, token in zip(encoding.sequence_ids, encoding.ids, strict=True)
        ]
        assert window.allowed.tolist() == allowed
        for token in range(len(encoding)):
            if allowed[token]:
                assert window.chars(token) == encoding.offsets[token]
                assert window.word_chars(token) == word_chars(encoding, token)


@pytest.mark.parametrize("added", [[], ["<e>"], ["x y", "\u6771\u4eac", "~~"], ["a.b"]])
def test_every_separator_cuts_without_a_trace(added: list[str]) -> None:
    """Of whatever added tokens the tokenizer has, none is cut in two; whatever else is long is cut."""
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    tokenizer.add_tokens(added)
    windower = Windower(Tokenizer.from_str(tokenizer.to_str()), None, Decoding())
    cutter, cuts = pieces_module.Cutter.of(tokenizer), BertCuts.of(tokenizer)
    assert cutter
    assert cuts
    separators = cuts._separators()
    assert len(separators) > 700
    texts = ["".join(f"a{char}{char}\u0301b" for char in separators)]
    texts += [f"{token}{char}{token}" for token in (*added, "[CLS]", "\u6771") for char in separators]
    text = "".join(texts)
    for piece in (1, 2, 3, 7):
        with mock.patch.object(pieces_module, "PIECE_CHARS", piece):
            parts = list(cutter.pieces(text))
            windows = windower.windows("Who?", text)
        assert "".join(parts) == text
        assert max(map(len, parts)) < 100
        whole = tokenizer.encode(text, add_special_tokens=False)
        row = windows[0].row
        assert row.ids()[row.before : row.before + row.tokens].tolist() == whole.ids
        assert [row.chars(row.before + token) for token in range(row.tokens)] == whole.offsets


def word_chars(encoding: Encoding, token: int) -> tuple[int, int] | None:
    word = encoding.token_to_word(token)
    return None if word is None else encoding.word_to_chars(word, 1)


# In a process of its own: what tests before it took would hide what this takes.
MEGABYTE = """
import re, sys
from pathlib import Path
from tokenizers import Tokenizer
from runtime.decoding import Decoding
from runtime.windows import UnanswerableRowError, Windower

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

windower = Windower(Tokenizer.from_file(sys.argv[1]), None, Decoding())
windower.windows("What?", "rain and snow")
before = peak()
texts = {
    "words": " ".join(f"word{number}" for number in range(110_000))[:1_000_000],
    "ideographs": "".join(chr(0x4E00 + number % 20_000) for number in range(333_333)),
    "points": "." * 1_000_000,
    "brackets": "]" * 1_000_000,
    "lines": "a\\n" * 500_000,
    "blanks": " " * 200_000 + "." * 800_000,
    "letters": "a" * 1_000_000,
    "syllables": "".join(chr(0xAC00 + number * 7919 % 11171) for number in range(333_333)),
    "semicolons": "\u037e" * 500_000,
}
question, context = (texts.get(name, f"What {name}?") for name in sys.argv[2:])
try:
    count = len(windower.windows(question, context))
except UnanswerableRowError as error:
    count = error
print(count, (peak() - before) // 1024, sep="|")
"""


@pytest.mark.parametrize(
    ("question", "context", "least", "most"),
    [
        ("one", "words", 1000, 110),
        ("one", "ideographs", 1000, 110),
        # A million tokens.
        ("one", "points", 4000, 110),
        ("one", "brackets", 4000, 110),
        ("one", "lines", 2000, 110),
        ("one", "blanks", 3000, 130),
        ("one", "letters", 1, 40),
        # One word, of a million letters to the tokenizer; it took 146 MB.
        ("one", "syllables", 1, 40),
        # Greek question marks; they took 308 MB.
        ("one", "semicolons", 1900, 110),
        ("words", "one", "question too long", 110),
        ("ideographs", "words", "question too long", 110),
    ],
)
def test_a_megabyte_of_text_takes_little_memory(question: str, context: str, least: int | str, most: int) -> None:
    """In one piece the tokenizer takes 195 MB for a context of words, 210 for such a question, 460 for points."""
    command = [sys.executable, "-c", MEGABYTE, str(CHECKPOINT / "tokenizer.json"), question, context]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    windows, megabytes = done.stdout.split("|")
    assert windows == least if isinstance(least, str) else int(windows) >= least
    assert int(megabytes) < most
