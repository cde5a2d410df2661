"""Rows to ask: those of the samples, and nasty ones."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import SAMPLES

Pair = tuple[str, str]


def sample_pairs() -> list[Pair]:
    """Every question and context of the samples, unanswerable rows included, in a fixed order."""
    pairs = []
    for path in sorted(SAMPLES.glob("*.csv")) + sorted(SAMPLES.glob("field-guides/*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            pairs += [(row["question"], row["context"]) for row in csv.DictReader(file)]
    return pairs


def answerable_pairs() -> list[Pair]:
    """Those of `sample_pairs` whose question and context say something."""
    return [pair for pair in sample_pairs() if all(text.strip() for text in pair)]


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Writes a CSV with the columns of the first row. Returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


WORDS = (SAMPLES / "news.csv").read_text("utf-8").replace('"', "").split()

NASTY: dict[str, Pair] = {
    "emoji": ("Who waved?", "👋 Ann 👩‍👩‍👧 waved 🎉🎉 at 10 o'clock"),
    "astral": ("What is 𝒳?", "𝒳 is 𝔸lpha 🀄 and 𐍈 is Gothic"),
    "combining marks": (
        "What did he drink?",
        "He drank cafe\u0301 cre\u0300me with z\u0335a\u0335l\u0335g\u0335o\u0335",
    ),
    "right to left": ("מי הגיע?", "דנה הגיעה בשעה עשר. وصل أحمد في المساء."),
    "cjk": ("誰が来ましたか", "昨日、田中さんが東京から来ました。"),
    "tabs": ("What\tcost\tten?", "item\tprice\npen\tten\ncup\ttwo"),
    "punctuation": ("?!", "... --- !!! ??? ;;; :::"),
    "one word": ("What?", "Seventeen"),
    "one letter": ("a", "b"),
    "long question": ("Why " * 80 + "?", "Because of rain. " * 20),
    "short context": ("Who?", "Bob did."),
    "special tokens": ("What is [SEP]?", "The [CLS] token and [SEP] and [MASK] are special; [PAD] fills."),
    "repeated answer": ("Who sang?", "Mia sang. " * 150),
    "case folding": ("Which city?", "ISTANBUL, İstanbul, istanbul, Straße, STRASSE, ß, ﬁ"),
    "controls": ("Who\x07 rang?", "Tom\x00 rang\x1b[0m the\u200b bell\ufeff twice\u2028 today"),
    "long word": ("What?", "x" * 3000),
    "two thousand words": ("Who reported it?", " ".join(WORDS[:2000])),
}
