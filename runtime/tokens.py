"""A row -> its tokens, of the whole question and context; long contexts are tokenized in pieces."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

# In pieces of so many code points a context of 1 MB takes 50 MB to tokenize; in one piece it took 195.
PIECE_CHARS = 1 << 16
# Before these a new word begins, whatever comes before. Not before a bracket, which may end `[CLS]`.
_CUT = re.compile(r"[ !\"#$%&'()*+,./:;?@\u3001\u3002\u3400-\u4dbf\u4e00-\u9fff-]")
_UP_TO_CUT = re.compile(f"(?s:.*)(?={_CUT.pattern})")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a row's context as the tokenizer sees it; a short context is one.

    Attributes:
        encoding: with the question and the special tokens in the first piece, alone in all others.
        base: the encoding's first token of the context.
        first: the same token, counted from the context's own first.
        offset: code points of the context before this piece.

    """

    encoding: Encoding
    base: int
    first: int
    offset: int


class Row:
    """The tokens of one row.

    Attributes:
        before, tokens, behind: how many tokens come before the context, are of the context, and come behind it.

    """

    def __init__(self, pieces: Sequence[Piece], tokens: int) -> None:
        self._pieces = pieces
        self._firsts = [piece.first for piece in pieces]
        self._pair = pieces[0].encoding
        of_first = self._firsts[1] if len(pieces) > 1 else tokens
        self.before, self.tokens = pieces[0].base, tokens
        self.behind = len(self._pair) - self.before - of_first

    def joined(self, part: Callable[[Encoding], Sequence[int]]) -> NDArray[np.int64]:
        """Ids, or type ids, of all tokens in order."""
        pair = np.asarray(part(self._pair), np.int64)
        end = pair.size - self.behind
        others = [np.asarray(part(piece.encoding), np.int64) for piece in self._pieces[1:]]
        return np.concatenate([pair[:end], *others, pair[end:]])

    def chars(self, token: int) -> tuple[int, int]:
        """Code points of a token in its own text; 0, 0 for special ones."""
        piece, at = self._locate(token)
        start, end = piece.encoding.token_to_chars(at) or (-piece.offset, -piece.offset)
        return start + piece.offset, end + piece.offset

    def word(self, token: int) -> tuple[int, int] | None:
        """Where the token's piece begins, and the number of its word in that piece; None for special tokens."""
        piece, at = self._locate(token)
        word = piece.encoding.token_to_word(at)
        return None if word is None else (piece.offset, word)

    def _locate(self, token: int) -> tuple[Piece, int]:
        number = token - self.before
        if number < 0:
            return self._pieces[0], token
        if number >= self.tokens:
            return self._pieces[0], len(self._pair) - self.behind + number - self.tokens
        piece = self._pieces[bisect_right(self._firsts, number) - 1]
        return piece, piece.base + number - piece.first


def tokenize(tokenizer: Tokenizer, question: object, context: object, in_pieces: bool) -> Row:
    """The tokens of a row. Raises TypeError for what is no text."""
    texts = list(pieces_of(context)) if in_pieces and isinstance(context, str) else [context]
    pair = tokenizer.encode(question, texts[0])
    of_context = np.asarray(pair.sequence_ids, np.float64) == 1
    tokens, offset = int(of_context.sum()), 0
    if not tokens and len(texts) > 1:
        # Where the context's tokens would stand cannot be told from a piece that has none.
        return tokenize(tokenizer, question, context, in_pieces=False)
    pieces = [Piece(pair, int(of_context.argmax()) if tokens else len(pair), 0, 0)]
    for before, text in pairwise(texts):
        offset += len(str(before))
        pieces.append(Piece(tokenizer.encode(text, add_special_tokens=False), 0, tokens, offset))
        tokens += len(pieces[-1].encoding)
    return Row(pieces, tokens)


def is_longer(tokenizer: Tokenizer, text: object, tokens: int) -> bool:
    """Whether a text of more than a piece has more tokens than that."""
    if not isinstance(text, str) or len(text) <= PIECE_CHARS:
        return False
    for piece in pieces_of(text):
        tokens -= len(tokenizer.encode(piece, add_special_tokens=False))
        if tokens < 0:
            return True
    return False


def takes_pieces(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of a text are those of its pieces.

    BERT's normalizer and pre-tokenizer look at nothing beyond a blank, an ideograph or a mark of punctuation; of
    others, SentencePiece's put a mark before each text.
    """
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        isinstance(tokenizer.normalizer, BertNormalizer)
        and tokenizer.normalizer.handle_chinese_chars
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and not any(token.lstrip or token.rstrip or _CUT.search(token.content, 1) for token in added)
    )


def pieces_of(text: str) -> Iterator[str]:
    """The text in pieces of about `PIECE_CHARS`; where one ends and the next begins, two words do too."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        last = _UP_TO_CUT.match(text, start + 1, start + PIECE_CHARS)
        cut = _CUT.search(text, last.end() if last else start + PIECE_CHARS)
        if not cut:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]
