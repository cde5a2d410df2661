"""A long text in pieces, so that the tokenizer holds one of them in memory, and not the text."""

from collections.abc import Iterator
from functools import cached_property

from tokenizers import Tokenizer

from runtime.bert_cuts import BertCuts
from runtime.blank_cuts import BlankCuts
from runtime.byte_cuts import ByteCuts
from runtime.long_words import Shortened

# In pieces of so many code points a context of 1 MB takes 50 MB to tokenize; in one piece it took 195, and 600 where
# each of its characters is a token.
PIECE_CHARS = 1 << 16


class Cutter:
    """Cuts texts where a word ends and the next one begins, whatever else stands around. Safe to share.

    Attributes:
        lead: what every piece but the first is tokenized behind; its tokens are no tokens of the text.

    """

    def __init__(self, tokenizer: Tokenizer, cuts: BertCuts | ByteCuts | BlankCuts) -> None:
        self._tokenizer, self._cuts = tokenizer, cuts
        self.lead = cuts.lead

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Cutter | None":
        """None where nothing proves that the tokens of a text are those of its pieces."""
        cuts = BertCuts.of(tokenizer) or ByteCuts.of(tokenizer) or BlankCuts.of(tokenizer)
        return cls(tokenizer, cuts) if cuts else None

    @cached_property
    def lead_tokens(self) -> int:
        """How many tokens the lead has."""
        return len(self._tokenizer.encode(self.lead, add_special_tokens=False))

    def shorten(self, text: str) -> Shortened:
        """The text without the middles of words that would make a long piece."""
        return self._cuts.shorten(text, PIECE_CHARS) if len(text) > PIECE_CHARS else Shortened(text)

    def pieces(self, text: str) -> Iterator[str]:
        """The text in pieces of about `PIECE_CHARS`."""
        start = 0
        while len(text) - start > PIECE_CHARS:
            cut = self._cuts.find(text, start, start + PIECE_CHARS)
            if cut is None:
                break
            yield text[start:cut]
            start = cut
        yield text[start:]
