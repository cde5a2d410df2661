"""A row -> its tokens, of the whole question and context; long contexts are tokenized in pieces."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from runtime.long_words import Shortened
from runtime.pieces import PIECE_CHARS, Cutter

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Piece:
    """A further stretch of a long context. As arrays: of a million tokens the tokenizer's own objects take 100 MB.

    Attributes:
        ids: of its tokens, (n,).
        chars: where each begins and ends in the piece, (n, 2).
        words: the number of each one's word in the context, (n,).
        first: its first token, counted from the context's own first.
        offset: where it begins in the context, or its lead would.

    """

    ids: Ints
    chars: Ints
    words: Ints
    first: int
    offset: int

    @classmethod
    def of(cls, encoding: Encoding, lead: int, first: int, offset: int, word: int) -> "Piece":
        """The piece that an encoding without special tokens is of, but for the tokens of its lead.

        Its first word has the number `word`.
        """
        numbers = encoding.word_ids
        shift = word - (numbers[lead - 1] + 1 if lead else 0)
        words = [number + shift for number in numbers[lead:]]
        chars = np.asarray(encoding.offsets[lead:], np.int32).reshape(-1, 2)
        return cls(np.asarray(encoding.ids[lead:], np.int32), chars, np.asarray(words, np.int32), first, offset)


class RowTokens:
    """The tokens of one row.

    Attributes:
        before, tokens, behind: how many tokens come before the context, are of the context, and come behind it.

    """

    def __init__(
        self, pair: Encoding, before: int, of_first: int, others: Sequence[Piece], texts: tuple[Shortened, Shortened]
    ) -> None:
        """`pair` is the question and the context's first piece, which has `of_first` tokens from `before` on.

        `texts` are the question and the context as they were tokenized.
        """
        self._pair, self._of_first, self._others = pair, of_first, others
        self._question, self._context = texts
        self._firsts = [piece.first for piece in others]
        self.before, self.behind = before, len(pair) - before - of_first
        self.tokens = of_first + sum(len(piece.ids) for piece in others)

    def ids(self) -> NDArray[np.int64]:
        """Ids of all tokens in order."""
        pair = np.asarray(self._pair.ids, np.int64)
        end = self.before + self._of_first
        return np.concatenate([pair[:end], *(piece.ids for piece in self._others), pair[end:]])

    def type_ids(self) -> NDArray[np.int64]:
        """Type ids of all tokens in order."""
        pair = np.asarray(self._pair.type_ids, np.int64)
        end = self.before + self._of_first
        # In a piece that stands alone the tokenizer takes the context for a first text.
        of_context = np.full(self.tokens, pair[self.before] if self.tokens else 0)
        return np.concatenate([pair[: self.before], of_context, pair[end:]])

    def chars(self, token: int) -> tuple[int, int]:
        """Code points of a token in its own text; 0, 0 for special ones."""
        at, piece = self._locate(token)
        text = self._question if token < self.before else self._context
        if piece is None:
            return text.in_whole(self._pair.token_to_chars(at) or (0, 0))
        start, end = piece.chars[at].tolist()
        return text.in_whole((start + piece.offset, end + piece.offset))

    def word(self, token: int) -> int | None:
        """The number of the token's word in its own text; None for special tokens."""
        at, piece = self._locate(token)
        return self._pair.token_to_word(at) if piece is None else int(piece.words[at])

    def _locate(self, token: int) -> tuple[int, Piece | None]:
        """The token's number in its piece; where it is not of a further one, its number in the pair."""
        number = token - self.before
        if number < self._of_first:
            return token, None
        if number >= self.tokens:
            return token - self.tokens + self._of_first, None
        piece = self._others[bisect_right(self._firsts, number) - 1]
        return number - piece.first, piece


def tokenize(tokenizer: Tokenizer, question: object, context: object, cutter: Cutter | None) -> RowTokens:
    """The tokens of a row; of a long context in pieces, if there is a cutter. Raises TypeError for what is no text."""
    short = _shorten(question, cutter), _shorten(context, cutter)
    texts = cutter.pieces(short[1].text) if cutter else iter([short[1].text])
    first = next(texts)
    pair = tokenizer.encode(short[0].text, first)
    # Where the context's tokens would stand cannot be told from a piece that has none, such as one of blanks.
    while 1 not in pair.sequence_ids and (more := next(texts, None)):
        first += more
        pair = tokenizer.encode(short[0].text, first)
    of_context = np.asarray(pair.sequence_ids, np.float64) == 1
    count, offset = int(of_context.sum()), len(first)
    before = int(of_context.argmax()) if count else len(pair)
    pieces, tokens, word = [], count, pair.token_to_word(before + count - 1) or 0
    lead, of_lead = (cutter.lead, cutter.lead_tokens) if cutter else ("", 0)
    for text in texts:
        encoding = tokenizer.encode(lead + text, add_special_tokens=False)
        pieces.append(Piece.of(encoding, of_lead, tokens, offset - len(lead), word + 1))
        tokens += len(pieces[-1].ids)
        offset += len(text)
        word = int(pieces[-1].words.max(initial=word))
    return RowTokens(pair, before, count, pieces, short)


def _shorten(text: object, cutter: Cutter | None) -> Shortened:
    if not isinstance(text, str):
        raise TypeError(f"{type(text).__name__} is no text")
    return cutter.shorten(text) if cutter else Shortened(text)


def is_longer(tokenizer: Tokenizer, cutter: Cutter, text: object, tokens: int) -> bool:
    """Whether a text of more than a piece has more tokens than that."""
    if not isinstance(text, str) or len(text) <= PIECE_CHARS:
        return False
    lead, of_lead = "", 0
    for piece in cutter.pieces(cutter.shorten(text).text):
        tokens -= len(tokenizer.encode(lead + piece, add_special_tokens=False)) - of_lead
        if tokens < 0:
            return True
        lead, of_lead = cutter.lead, cutter.lead_tokens
    return False
