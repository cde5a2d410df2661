"""A row -> windows of tokens, with overlap where the context is longer than one window."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from runtime.decoding import Decoding
from runtime.errors import BundleError, OptionError

# Something that is no str, or a str with half of a surrogate pair: the library says TypeError to both.
NOT_TEXT = "not text"
# White space, and what shows as nothing at all: zero-width characters and BOMs.
BLANK = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "\u200b\u200c\u200d\u2060\ufeff"


class UnanswerableRowError(Exception):
    """A row has no answer, and why; it ends as `Answer.error`, never as an exception of the API."""


@dataclass(frozen=True, slots=True)
class Window:
    """One model input.

    Attributes:
        ids: token ids, (1, tokens) int64.
        type_ids: token type ids, (1, tokens) int64.
        allowed: tokens a span may begin or end on (context tokens and every [CLS]), (tokens,).
        encoding: the tokenizer's view, for words and character offsets.

    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    encoding: Encoding


class Windower:
    """Cuts rows into windows. Safe to share between threads: nothing changes after construction."""

    def __init__(self, tokenizer_file: Path, cls_token_id: int | None, decoding: Decoding) -> None:
        """Raises BundleError for a tokenizer that cannot be read, OptionError for limits that leave no room."""
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # tokenizers raises bare Exception for whatever is wrong with the file
            raise BundleError(f"{tokenizer_file}: not a tokenizer: {error}") from error
        self._cls_token_id = cls_token_id
        self._overlap = decoding.doc_stride
        self._budget: int = decoding.max_seq_len - self._tokenizer.num_special_tokens_to_add(True)
        if self._budget <= decoding.doc_stride:
            raise OptionError(
                f"doc_stride ({decoding.doc_stride}) leaves no room in windows of {decoding.max_seq_len} tokens; "
                "make it smaller or max_seq_len larger"
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(decoding.max_seq_len, stride=decoding.doc_stride, strategy="only_second")

    def windows(self, question: object, context: object) -> list[Window]:
        """The windows of one row, at least one.

        Raises UnanswerableRowError for a blank question or context and for a question that leaves no room.
        """
        for name, text in (("question", question), ("context", context)):
            if text is None or (isinstance(text, str) and not text.strip(BLANK)):
                raise UnanswerableRowError(f"empty {name}")
        room = self._budget - self._count(question)
        # Beyond this the library panics instead of raising (tokenizers#944), so it must never see such a row.
        if room < 1 or (room <= self._overlap and self._count(context) > room):
            raise UnanswerableRowError("question too long")
        try:
            first = self._tokenizer.encode(question, context)
        except TypeError as error:
            raise UnanswerableRowError(NOT_TEXT) from error
        windows = [self._window(encoding) for encoding in (first, *first.overflowing)]
        if not any(1 in window.encoding.sequence_ids for window in windows):
            raise UnanswerableRowError("empty context")
        return windows

    def _window(self, encoding: Encoding) -> Window:
        ids = np.asarray(encoding.ids, np.int64)
        allowed = np.asarray([sequence == 1 for sequence in encoding.sequence_ids])
        if self._cls_token_id is not None:
            allowed |= ids == self._cls_token_id
        return Window(ids[None], np.asarray([encoding.type_ids], np.int64), allowed, encoding)

    def _count(self, text: object) -> int:
        """Tokens of a text on its own, at most one more than fit a window."""
        try:
            tokens: int = len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except TypeError as error:
            raise UnanswerableRowError(NOT_TEXT) from error
        except Exception:  # noqa: BLE001 - bare Exception again: "only_second" cannot cut a single sequence
            return self._budget + 1
        return tokens
