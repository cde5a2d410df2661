"""Where a text can be cut for RoBERTa's, XLM-RoBERTa's, ALBERT's and DeBERTa's tokenizers: before a blank.

What is said here of a tokenizer's parts was read in the source of tokenizers 0.22.2, and `tests/runtime/test_pieces.py`
holds it against the library that is installed.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Protocol

from tokenizers import Tokenizer

from runtime.long_words import Shortened

# Those that change a character without a look at others, or at no others than its marks and the rest of its grapheme
# cluster: `normalizers/unicode.rs`, `strip.rs` (its ends aside, which a lead and a letter keep), `utils.rs`
# (`Lowercase` takes each character alone, a last sigma too), `precompiled.rs` (cluster by cluster).
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "Strip", "Precompiled"}
# What SentencePiece's converters replace: nothing in it stands on both sides of the cut.
_REPLACED = [
    ({"String": "``"}, '"'),
    ({"String": "''"}, '"'),
    ({"Regex": " {2,}"}, " "),
    ({"Regex": " {2,}"}, "\u2581"),
]
# A letter or digit that is a grapheme cluster of its own between two of its kind, so that the blank begins another one:
# not U+0D4E, which takes what follows into its cluster, nor those that join what is before them, nor Hangul's jamo.
# Those above U+FFFF, some of which do either, are left out.
_BASE = "[^\\W_\u0d4e\u0e33\u0eb3\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff\uff9e\uff9f\U00010000-\U0010ffff]"
_CUT = re.compile(f"{_BASE}{{2}}(?= )")


class Component(Protocol):
    """A normalizer, pre-tokenizer or post-processor."""

    def __getstate__(self) -> bytes: ...


class BlankCuts:
    """Finds blanks behind two letters or digits. Safe to share.

    There each normalizer and pre-tokenizer that `of` accepts begins anew: ByteLevel's regular expression looks at
    nothing behind it, and takes a blank only at the beginning of a word (`byte_level.rs`); Metaspace and
    WhitespaceSplit split there (`metaspace.rs`, `whitespace.rs`); no added token lies on both sides.
    """

    # For what a piece that begins with a blank would be spared or lose as the beginning of a text: Metaspace's prefix
    # (`prepend_scheme`), ByteLevel's (`add_prefix_space`, also in the offsets that it trims), and what Strip strips.
    lead = "a"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._normalizer = tokenizer.normalizer
        added = tokenizer.get_added_tokens_decoder().values()
        # After an added token a text begins anew before the blank.
        self._ends = {text[-1] for text in _texts(tokenizer)}
        # What is normalized for itself: a text, and what stands behind an added token; the longest is found first.
        raw = sorted((token.content for token in added if not token.normalized), key=len, reverse=True)
        self._beginnings = re.compile(f"(?:{'|'.join(['^', *map(re.escape, raw)])})(?=(\\s*\\S?))")
        self._loses_beginnings = any(part["type"] == "Precompiled" for part in parts(tokenizer.normalizer))

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "BlankCuts | None":
        """None for tokenizers with other parts, and for those with added tokens that go beyond a blank.

        An added token with `lstrip` takes the blanks before it, of which the first is behind the cut; with `rstrip` it
        may take those behind the cut. With `single_word` it looks at one character on each side, and a blank counts
        as the end of a text does (`added_vocabulary.rs`).
        """
        added = tokenizer.get_added_tokens_decoder().values()
        splits = [_splits(part) for part in parts(tokenizer.pre_tokenizer)]
        is_local = (
            all(_is_local(part) for part in parts(tokenizer.normalizer))
            and splits
            and all(splits)
            and not any(token.rstrip for token in added)
            and not any(text in ("", cls.lead) or re.search("[\\s\u2581]", text) for text in _texts(tokenizer))
        )
        return cls(tokenizer) if is_local else None

    def shorten(self, text: str, _longest: int) -> Shortened:
        """The text as it is: of a long word too the tokens depend on every character."""
        return Shortened(text)

    def find(self, text: str, start: int, end: int) -> int | None:
        """The last place up to `end` where a piece from `start` on can be cut, or else the first one behind it."""
        if start == 0 and self._loses_beginnings and self._has_shifted_offsets(text):
            return None
        before = [match.end() for match in _CUT.finditer(text, start, end + 1)]
        behind = (match.end() for match in _CUT.finditer(text, max(start, end - 1)))
        return next((cut for places in (reversed(before), behind) for cut in places if self._is_cut(text, cut)), None)

    def _has_shifted_offsets(self, text: str) -> bool:
        """Whether something is removed where normalizing begins: all offsets behind it are then too low.

        `precompiled.rs` counts what it removes to the character before it, of which there is none.
        """
        beginnings = {char for match in self._beginnings.finditer(text) for char in match[1]}
        return any(not self._normalizer.normalize_str(char) for char in beginnings)

    def _is_cut(self, text: str, cut: int) -> bool:
        """Whether what stands before the blank remains a letter or digit, and is not the end of an added token."""
        here = f"{text[cut - 2 : cut]} a"
        normal: str = self._normalizer.normalize_str(here) if self._normalizer else here
        last = normal[-3:-2]
        return normal.endswith(" a") and last.isalnum() and self._ends.isdisjoint((text[cut - 1], last))


def _texts(tokenizer: Tokenizer) -> set[str]:
    """The added tokens, as they are and as they are normalized: some are looked for in what a text becomes."""
    texts = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return texts | {tokenizer.normalizer.normalize_str(text) for text in texts} if tokenizer.normalizer else texts


def parts(component: Component | None) -> Iterator[dict[str, Any]]:
    """The settings of a part of a tokenizer; of a sequence, those of its parts."""
    left = [json.loads(component.__getstate__())] if component else []
    while left:
        part = left.pop(0)
        if part["type"] == "Sequence":
            left = [
                each for kind in ("normalizers", "pretokenizers", "processors") for each in part.get(kind, [])
            ] + left
        else:
            yield part


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        return (normalizer["pattern"], normalizer["content"]) in _REPLACED
    return normalizer["type"] in _NORMALIZERS


def _splits(pre_tokenizer: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer splits a text before a blank, and looks at nothing beyond it."""
    kind = pre_tokenizer["type"]
    is_metaspace = kind == "Metaspace" and pre_tokenizer["split"] and pre_tokenizer["replacement"] == "\u2581"
    return bool(is_metaspace or kind == "WhitespaceSplit" or (kind == "ByteLevel" and pre_tokenizer["use_regex"]))
