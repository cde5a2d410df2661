"""A row -> windows of tokens, with overlap if the context is longer than one window."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from runtime.blanks import BLANK
from runtime.decoding import Decoding
from runtime.errors import OptionError
from runtime.pieces import Cutter
from runtime.tokens import RowTokens, is_longer, tokenize

# Something that is no str, or a str with half of a surrogate pair: the library raises TypeError for both.
NOT_TEXT = "not text"


class UnanswerableRowError(Exception):
    """A row has no answer, and why; it ends as `Answer.error`, never as an exception of the API."""


@dataclass(frozen=True, slots=True)
class Window:
    """One model input: the tokens before the row's context, some of the context's, and those behind it.

    Attributes:
        ids: token ids, (1, tokens) int64.
        type_ids: token type ids, (1, tokens) int64.
        allowed: tokens a span may begin or end on (context tokens and every [CLS]), (tokens,).
        row: the row that it is cut from, for words and character offsets.
        first: the first context token of this window, counted from the context's own first.
        count: context tokens in this window.

    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    row: RowTokens
    first: int
    count: int

    def chars(self, token: int) -> tuple[int, int]:
        """Code points of a token in its own text; 0, 0 for special ones."""
        return self.row.chars(self._in_row(token))

    def word_chars(self, token: int) -> tuple[int, int] | None:
        """Code points of a token's word, as far as it lies in this window; None if it does not.

        A [CLS] that stands in the question has the number of one of its words, and the context's word of that number
        counts for it, as in the reference.
        """
        at = self._in_row(token)
        word = self.row.word(at)
        start = self.row.before + self.first
        end = start + self.count
        if word is not None and not start <= at < end:
            at = next((other for other in range(start, end) if self.row.word(other) == word), -1)
        if word is None or at < 0:
            return None
        first = last = at
        while first > start and self.row.word(first - 1) == word:
            first -= 1
        while last + 1 < end and self.row.word(last + 1) == word:
            last += 1
        return self.row.chars(first)[0], self.row.chars(last)[1]

    def _in_row(self, token: int) -> int:
        if token < self.row.before:
            return token
        if token < self.row.before + self.count:
            return token + self.first
        return token + self.row.tokens - self.count


class Windower:
    """Cuts rows into windows. Safe to share between threads: nothing changes after construction."""

    def __init__(self, tokenizer: Tokenizer, cls_token_id: int | None, decoding: Decoding) -> None:
        """The tokenizer neither pads nor truncates from now on. Raises OptionError for limits that leave no room."""
        self._tokenizer = tokenizer
        self._cls_token_id = cls_token_id
        self._overlap = decoding.doc_stride
        self._length = decoding.max_seq_len
        room = self._length - self._tokenizer.num_special_tokens_to_add(True)
        if room <= decoding.doc_stride:
            raise OptionError(
                f"doc_stride ({decoding.doc_stride}) leaves no room in windows of {decoding.max_seq_len} tokens; "
                "make it smaller or max_seq_len larger"
            )
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._cutter = Cutter.of(self._tokenizer)

    def windows(self, question: object, context: object) -> list[Window]:
        """The windows of one row, at least one.

        Raises UnanswerableRowError for a blank question or context and for a question that leaves no room.
        """
        for name, text in (("question", question), ("context", context)):
            if text is None or (isinstance(text, str) and not text.strip(BLANK)):
                raise UnanswerableRowError(f"empty {name}")
        try:
            if self._cutter and is_longer(self._tokenizer, self._cutter, question, self._length):
                raise UnanswerableRowError("question too long")
            row = tokenize(self._tokenizer, question, context, self._cutter)
        except TypeError as error:
            raise UnanswerableRowError(NOT_TEXT) from error
        except BaseException as error:
            # What a library in Rust gives up with, which is no Exception: of this text, and of no other.
            if type(error).__module__ == "pyo3_runtime":
                raise UnanswerableRowError("the tokenizer gave up on this row") from error
            raise
        room = self._length - row.before - row.behind
        if room < 1 or (room <= self._overlap and row.tokens > room):
            raise UnanswerableRowError("question too long")
        if not row.tokens:
            raise UnanswerableRowError("empty context")
        return list(self._cut(row, room))

    def _cut(self, row: RowTokens, room: int) -> Iterator[Window]:
        """Windows that hold `room` of the context's tokens each, as tokenizers' truncation with a stride cuts them."""
        ids, type_ids = row.ids(), row.type_ids()
        for first in range(0, row.tokens, max(1, room - self._overlap)):
            count = min(room, row.tokens - first)
            start = row.before + first
            here = np.r_[0 : row.before, start : start + count, row.before + row.tokens : ids.size]
            allowed = np.zeros(here.size, np.bool_)
            allowed[row.before : row.before + count] = True
            if self._cls_token_id is not None:
                allowed |= ids[here] == self._cls_token_id
            yield Window(ids[here][None], type_ids[here][None], allowed, row, first, count)
            if first + count == row.tokens:
                return
