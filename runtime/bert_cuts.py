"""Where a text can be cut for BERT's tokenizers: at blanks, ideographs and marks of punctuation."""

import re
import unicodedata
from functools import cached_property
from itertools import chain

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from runtime.blanks import BLANK
from runtime.long_words import Shortened, Shortener

# Ideographs that BERT's normalizer puts blanks around.
_IDEOGRAPHS = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf"
    "\U0002f800-\U0002fa1f"
)
# Blanks and punctuation lie below.
_PLANES = 0x20000


class BertCuts:
    """Finds the places where a word ends and the next one begins, whatever else stands around. Safe to share."""

    # A piece has the tokens that it has in the text, whatever it begins with.
    lead = ""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = added_tokens(tokenizer)
        self._shortener = Shortener(tokenizer, self._added)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "BertCuts | None":
        """None for other tokenizers.

        BERT's normalizer and pre-tokenizer look at nothing beyond a blank, an ideograph or a mark of punctuation.
        """
        added = tokenizer.get_added_tokens_decoder().values()
        is_bert = (
            isinstance(tokenizer.normalizer, BertNormalizer)
            and tokenizer.normalizer.handle_chinese_chars
            and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        )
        looks_around = any(token.lstrip or token.rstrip or token.single_word for token in added)
        return cls(tokenizer) if is_bert and not looks_around else None

    def shorten(self, text: str, longest: int) -> Shortened:
        """The text without the middles of words that would make a piece longer than that."""
        # Any piece that is too long has one of these in it.
        half = (longest + 1) // 2
        stretches = (range(first, min(first + half, len(text))) for first in range(0, len(text), half))
        separator = self._separator
        return self._shortener.shorten(
            text, (each for each in stretches if not separator.search(text, each.start, each.stop))
        )

    def find(self, text: str, start: int, end: int) -> int | None:
        """The last place up to `end` where a piece from `start` on can be cut, or else the first one behind it."""
        separator = self._up_to_separator.match(text, start + 1, end) or self._separator.search(text, end)
        if not separator:
            return None
        # Before it, or behind it where an added token may end with it, as `[CLS]` does.
        return separator.end() if text[separator.end() - 1] in self._inside[0] else separator.end() - 1

    @cached_property
    def _inside(self) -> tuple[str, str]:
        """Characters before which an added token may have begun, and behind which one may go on."""
        # The normalizer turns one blank into another.
        ends, starts = "".join(text[1:] for text in self._added), "".join(text[:-1] for text in self._added)
        return re.sub(r"\s", BLANK, ends), re.sub(r"\s", BLANK, starts)

    @cached_property
    def _separator(self) -> re.Pattern[str]:
        """One character that is a word of its own, or none, and is not somewhere inside an added token."""
        excluded = {*self._inside[0]} & {*self._inside[1]}
        separators = "".join(char for char in self._separators() if char not in excluded)
        ideographs = "".join(sorted(char for char in excluded if re.match(f"[{_IDEOGRAPHS}]", char)))
        return re.compile(f"{f'(?![{ideographs}])' if ideographs else ''}[{re.escape(separators)}{_IDEOGRAPHS}]")

    @cached_property
    def _up_to_separator(self) -> re.Pattern[str]:
        return re.compile(f"(?s:.*){self._separator.pattern}")

    def _separators(self) -> str:
        """Blanks and marks of punctuation, as the tokenizer sees them, which may know another Unicode than Python."""
        others = (char for char in map(chr, range(0x80, _PLANES)) if unicodedata.category(char)[0] in "PSZ")
        return "".join(char for char in chain(map(chr, range(0x80)), others) if self._separates(char))

    def _separates(self, char: str) -> bool:
        normal = self._tokenizer.normalizer.normalize_str(f"a{char}b")
        # Of a character that becomes another, as a Greek question mark becomes a semicolon, `_inside` does not know.
        is_kept = normal == f"a{char}b" or (char.isspace() and normal == "a b")
        is_safe = is_kept or not any(set(normal[1:-1]) & set(token) for token in self._added)
        return is_safe and len(self._tokenizer.pre_tokenizer.pre_tokenize_str(normal)) > 1


def added_tokens(tokenizer: Tokenizer) -> list[str]:
    """As they are, and as the normalizer makes them, since some are looked for in what it has made of a text."""
    contents = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return contents + [tokenizer.normalizer.normalize_str(content) for content in contents]
