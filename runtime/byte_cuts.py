"""Where a text can be cut for RoBERTa's tokenizer: also where no blank is, behind a word and before what is none."""

import re
from typing import Any

from tokenizers import Tokenizer

from runtime.blank_cuts import parts
from runtime.long_words import Shortened

_CUT = re.compile(r"[^\W_](?=[\W_])")


class ByteCuts:
    """Finds places between a letter or digit and what is neither. Safe to share.

    ByteLevel's regular expression looks at nothing behind it (`byte_level.rs` of tokenizers 0.22.2). Of its words only
    the contractions, which begin with an apostrophe, have characters of two kinds, but for a blank at the beginning.
    """

    # Without a normalizer and a prefix nothing treats the beginning of a text otherwise.
    lead = ""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pre_tokenizer = tokenizer.pre_tokenizer
        self._added = "\0".join(token.content for token in tokenizer.get_added_tokens_decoder().values())

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "ByteCuts | None":
        """None for tokenizers with other parts, and for those with added tokens that look at what is behind them.

        An added token with `lstrip` takes the white space before it, none of which is before the cut.
        """
        added = tokenizer.get_added_tokens_decoder().values()
        words = list(parts(tokenizer.pre_tokenizer))
        is_local = (
            tokenizer.normalizer is None
            and [part["type"] for part in words] == ["ByteLevel"]
            and words[0]["use_regex"]
            and not any(_has_prefix(part) for part in (*words, *parts(tokenizer.post_processor)))
            and not any(token.rstrip or token.single_word for token in added)
        )
        return cls(tokenizer) if is_local else None

    def shorten(self, text: str, _longest: int) -> Shortened:
        """The text as it is: of a long word too the tokens depend on every character."""
        return Shortened(text)

    def find(self, text: str, start: int, end: int) -> int | None:
        """The last place up to `end` where a piece from `start` on can be cut, or else the first one behind it."""
        before = [match.end() for match in _CUT.finditer(text, start, end + 1)]
        behind = (match.end() for match in _CUT.finditer(text, end))
        return next((cut for places in (reversed(before), behind) for cut in places if self._is_cut(text, cut)), None)

    def _is_cut(self, text: str, cut: int) -> bool:
        """Whether the tokenizer too, which may know another Unicode, sees two words, and no added token lies across."""
        pair = text[cut - 1 : cut + 1]
        return pair not in self._added and len(self._pre_tokenizer.pre_tokenize_str(pair)) > 1


def _has_prefix(part: dict[str, Any]) -> bool:
    return bool(part.get("add_prefix_space"))
