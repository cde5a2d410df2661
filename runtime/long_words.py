"""Words that the tokenizer takes for unknown because they are too long, without their middle.

WordPiece makes one unknown token of a word beyond its longest, whatever its letters are. So most of such a word need
not be tokenized: a megabyte of Korean without a blank took 146 MB, for the three letters that each syllable becomes.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from tokenizers import Tokenizer
from tokenizers.models import WordPiece


class Shortened(NamedTuple):
    """A text without the middles of some words.

    Attributes:
        text: what is left.
        gaps: where in `text` something is left out, rising.
        lengths: code points that are left out up to there, all in all.

    """

    text: str
    gaps: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()

    def in_whole(self, chars: tuple[int, int]) -> tuple[int, int]:
        """Where a word or token stands in the whole text. None begins or ends at a gap."""
        start, end = (bisect_left(self.gaps, place) for place in chars)
        return chars[0] + self._length_of(start), chars[1] + self._length_of(end)

    def _length_of(self, gaps: int) -> int:
        return self.lengths[gaps - 1] if gaps else 0


class Shortener:
    """Leaves out the middle of long words. For BERT's normalizer and pre-tokenizer only. Safe to share."""

    def __init__(self, tokenizer: Tokenizer, added: Sequence[str]) -> None:
        """`added` are the added tokens, as they are and as they are normalized."""
        self._tokenizer = tokenizer
        self._added = added
        self._is_wordpiece = isinstance(tokenizer.model, WordPiece)

    def shorten(self, text: str, stretches: Iterable[range]) -> Shortened:
        """The text with the same tokens, but for where they stand; what is left out lies in the stretches."""
        places = list(stretches) if self._is_wordpiece else []
        if not places:
            return Shortened(text)
        letters, marks = self._classes(set().union(*(text[place.start : place.stop] for place in places)))
        gaps = [gap for place in places for gap in self._gaps(text, place, letters, marks)]
        kept = zip([0, *(gap.stop for gap in gaps)], [*(gap.start for gap in gaps), len(text)], strict=True)
        lengths = tuple(accumulate(map(len, gaps)))
        starts = (gap.start - before for gap, before in zip(gaps, (0, *lengths), strict=False))
        return Shortened("".join(text[first:end] for first, end in kept), tuple(starts), lengths)

    def _gaps(self, text: str, place: range, letters: set[str], marks: set[str]) -> Iterable[range]:
        """What can be left out of a stretch.

        Each gap begins and ends before a letter, across which marks are not reordered. Letters enough for an unknown
        word are left before it, and before and behind it as many as an added token has, one of which may lie half in
        the word.
        """
        if not letters:
            return
        longest = max(map(len, self._added), default=0)
        for run in re.finditer(f"[{re.escape(''.join(letters | marks))}]++", text[place.start : place.stop]):
            inside = range(place.start + run.start(), place.start + run.end())
            first = _nth(text, inside, letters, self._tokenizer.model.max_input_chars_per_word + longest + 2)
            last = _nth(text, inside[::-1], letters, longest + 1)
            if first < last:
                yield range(first, last)

    def _classes(self, chars: set[str]) -> tuple[set[str], set[str]]:
        """Those that are letters of a word wherever they stand, and those that join letters, seen or not.

        Neither can be of an added token: of one without a separator all are excluded, and one with a separator does
        not fit into a word.
        """
        excluded = {char for token in self._added if self._is_word(token) for char in token}
        letters: set[str] = set()
        marks: set[str] = set()
        for char in chars - excluded:
            normal = self._tokenizer.normalizer.normalize_str(f"x{char}x")
            if self._is_word(normal) and excluded.isdisjoint(normal[1:-1]):
                (letters if normal != "xx" and _begins_anew(char) else marks).add(char)
        return letters, marks

    def _is_word(self, normal: str) -> bool:
        return len(self._tokenizer.pre_tokenizer.pre_tokenize_str(f"x{normal}x")) == 1


def _nth(text: str, places: range, letters: set[str], count: int) -> int:
    """Where the count-th of the letters stands; the last of the places if there are fewer."""
    for place in places:
        count -= text[place] in letters
        if not count:
            return place
    return places[-1]


def _begins_anew(char: str) -> bool:
    """Whether no mark behind the character can move before it; of those unknown to this Unicode one cannot tell."""
    first = unicodedata.normalize("NFD", char)[0]
    return unicodedata.category(char) != "Cn" and not unicodedata.combining(first)
