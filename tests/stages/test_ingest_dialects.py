"""Tables in every dialect, encoding and line end, whole and damaged: each leaves as it was meant, or is refused."""

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

from runtime.errors import InputError
from tests.support.ingest_cases import Case, run
from tests.support.languages import TEXTS

QUOTING: list[Literal[0, 1]] = [csv.QUOTE_ALL, csv.QUOTE_MINIMAL]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp1250", "cp1251",
             "mac-roman", "cp850", "cp932", "gb18030", "koi8-r"]  # fmt: skip
# Those that lose or add what a reader cannot know, so that the file must be refused.
DAMAGES = ["two empty fields too many", "a field too many", "a NUL", "a title above"]
# Those that leave no doubt.
ODDITIES = ["", "", "Ctrl-Z", "its sep line", "another sep line", "blank lines", "no last line end", "empty columns",
            "an empty field too many", "other names"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """A table that somebody wrote, and what was done to it."""

    rows: list[list[str]]
    delimiter: str
    line_end: str
    what: str
    quoting: Literal[0, 1]

    def text(self) -> str:
        rows = [list(row) for row in self.rows]
        extra = {"two empty fields too many": ["", ""], "an empty field too many": [""], "a field too many": ["x"]}
        rows[-1] += extra.get(self.what, [])
        if self.what == "empty columns":
            rows = [[*row, "", ""] for row in rows]
        if self.what == "other names":
            rows[0][:2] = [" Question", "CONTEXT\ufeff"]
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=self.delimiter, lineterminator=self.line_end, quoting=self.quoting).writerows(rows)
        return self._finished(out.getvalue())

    @property
    def has_bare_breaks(self) -> bool:
        """Whether cells may hold a line feed without quotes: Python's csv quotes those of its own line end alone."""
        return self.line_end == "\r" and self.quoting == csv.QUOTE_MINIMAL

    def _finished(self, text: str) -> str:
        above = {"its sep line": f"sep={self.delimiter}", "another sep line": "sep=~", "a title above": "Of May"}
        if self.what in above:
            return above[self.what] + self.line_end + text
        if self.what == "no last line end":
            return text.removesuffix(self.line_end)
        half = len(text) // 2
        return {
            "Ctrl-Z": text + "\x1a",
            "a NUL": text[:half] + "\0" + text[half:],
            "blank lines": self.line_end + text + self.line_end * 2,
        }.get(self.what, text)


def tables(chance: random.Random, what: list[str]) -> Iterator[tuple[Table, str]]:
    """Tables at random, each with an encoding that has its letters."""
    for _ in range(60):
        language = chance.choice(list(TEXTS))
        rows = [["question", "context", *chance.choice(([], ["note"]))]]
        for text in chance.choices(TEXTS[language], k=chance.choice((1, 2, 9))):
            question, _, context = text.partition(",")
            ways = (f"{context}, {context}", f'"{context}"; x', f"{context}\n{context}\t|", f"{context}\n")
            context = chance.choice((context, *ways))
            rows.append([question, context, *(["1,5"] * (len(rows[0]) - 2))])
        line_end, quoting = chance.choice(("\n", "\r\n", "\r", "\r\r\n")), chance.choice(QUOTING)
        table = Table(rows, chance.choice(",;\t|"), line_end, chance.choice(what), quoting)
        encoding = chance.choice(ENCODINGS)
        try:
            table.text().encode(encoding)
        except UnicodeEncodeError:
            encoding = "utf-8"
        yield table, encoding


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_oddly_is_not_altered(seed: int) -> None:
    """What can be UTF-8 or UTF-16 only is taken; other encodings may be refused."""
    for table, encoding in tables(random.Random(seed), ODDITIES):
        case = Case("", table.text().encode(encoding), options=("--encoding", "auto"))
        try:
            parts, _ = run(case)
        except InputError:
            assert not encoding.startswith("utf") or table.has_bare_breaks, (table, encoding)
            continue
        assert list(csv.reader(io.StringIO(parts["1"], newline=""), strict=True)) == table.rows, (table, encoding)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_damaged_is_refused(seed: int) -> None:
    for table, encoding in tables(random.Random(seed), DAMAGES):
        with pytest.raises(InputError):
            run(Case("", table.text().encode(encoding), options=("--encoding", "auto")))
