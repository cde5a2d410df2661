"""A long text in pieces, so that the tokenizer holds one of them in memory, and not the text."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from itertools import chain

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from runtime.blanks import BLANK
from runtime.long_words import Shortened, Shortener

# In pieces of so many code points a context of 1 MB takes 50 MB to tokenize; in one piece it took 195, and 600 where
# each of its characters is a token.
PIECE_CHARS = 1 << 16
# Ideographs that BERT's normalizer puts blanks around.
_IDEOGRAPHS = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf"
    "\U0002f800-\U0002fa1f"
)
# Blanks and punctuation lie below.
_PLANES = 0x20000


class Cutter:
    """Cuts texts where a word ends and the next one begins, whatever else stands around. Safe to share."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = added_tokens(tokenizer)
        self._shortener = Shortener(tokenizer, self._added)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Cutter | None":
        """None where the tokens of a text are not those of its pieces.

        BERT's normalizer and pre-tokenizer look at nothing beyond a blank, an ideograph or a mark of punctuation; of
        others, SentencePiece's put a mark before each text.
        """
        added = tokenizer.get_added_tokens_decoder().values()
        is_bert = (
            isinstance(tokenizer.normalizer, BertNormalizer)
            and tokenizer.normalizer.handle_chinese_chars
            and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        )
        looks_around = any(token.lstrip or token.rstrip or token.single_word for token in added)
        return cls(tokenizer) if is_bert and not looks_around else None

    def shorten(self, text: str) -> Shortened:
        """The text without the middles of words that would make a long piece."""
        if len(text) <= PIECE_CHARS:
            return Shortened(text)
        # Any piece that is too long has one of these in it.
        half = (PIECE_CHARS + 1) // 2
        stretches = (range(first, min(first + half, len(text))) for first in range(0, len(text), half))
        separator = self._separator
        return self._shortener.shorten(
            text, (each for each in stretches if not separator.search(text, each.start, each.stop))
        )

    def pieces(self, text: str) -> Iterator[str]:
        """The text in pieces of about `PIECE_CHARS`."""
        start = 0
        while len(text) - start > PIECE_CHARS:
            end = start + PIECE_CHARS
            separator = self._up_to_separator.match(text, start + 1, end) or self._separator.search(text, end)
            if not separator:
                break
            # Before it, or behind it where an added token may end with it, as `[CLS]` does.
            cut = separator.end() if text[separator.end() - 1] in self._inside[0] else separator.end() - 1
            yield text[start:cut]
            start = cut
        yield text[start:]

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
