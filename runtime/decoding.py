"""The options of decoding, under the names that transformers' question-answering pipeline gave them."""

from dataclasses import dataclass

from runtime.errors import OptionError


@dataclass(frozen=True, slots=True)
class Decoding:
    """How rows are cut into windows and windows into answers.

    Attributes:
        max_seq_len: longest window in tokens, question and special tokens included.
        doc_stride: overlap of neighbouring windows in context tokens (the pipeline's name for it).
        max_answer_len: longest answer in tokens.
        top_k: answers per row, best first.
        handle_impossible_answer: whether "no answer" competes with the spans.
        align_to_words: whether answers grow to whole words.

    """

    max_seq_len: int = 384
    doc_stride: int = 128
    max_answer_len: int = 15
    top_k: int = 1
    handle_impossible_answer: bool = False
    align_to_words: bool = True

    def __post_init__(self) -> None:
        for name in ("max_seq_len", "max_answer_len", "top_k"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.doc_stride < 0:
            raise OptionError(f"doc_stride is {self.doc_stride}; it must not be negative")
        if self.doc_stride >= self.max_seq_len:
            raise OptionError(f"doc_stride ({self.doc_stride}) must be smaller than max_seq_len ({self.max_seq_len})")

    @property
    def candidates(self) -> int:
        """Spans to look at per window: more than `top_k`, since spans grown to whole words may become equal."""
        return 2 * self.top_k + 10 if self.align_to_words else self.top_k


def default_doc_stride(max_seq_len: int) -> int:
    """The overlap that the transformers pipeline takes when only `max_seq_len` is given."""
    return min(max_seq_len // 2, 128)
