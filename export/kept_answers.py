"""The fp32 answers to the samples by the shipped checkpoint, so that its export need not find them again.

They hold for one graph, tokenizer and decoding, byte for byte, and are looked up row by row; rows that are missing are
answered. They come with the package and not with the checkpoint, since int8 is compared with them: a checkpoint cannot
bring its own. `python -m export.kept_answers BUNDLE` writes them; BUNDLE is an fp32 bundle of the shipped checkpoint.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import verify
from export.bundle import cpu
from export.evaluation import Row, read_rows
from runtime import Answerer, command
from runtime.answer import Answer
from runtime.bundle import MODEL, TOKENIZER
from runtime.decoding import Decoding
from runtime.rows import Ranking

KEPT = Path(__file__).with_name("kept_answers.json")


def kept_answers(folder: Path, decoding: Decoding, rows: Sequence[Row]) -> list[Ranking] | None:
    """The kept answers of the graph and the tokenizer in `folder`; None if they are of others, or lack a row."""
    kept = json.loads(KEPT.read_text("utf-8"))
    if kept["by"] != identity(folder, decoding):
        return None
    places = [kept["answers"].get(row_key(row.question, row.context)) for row in rows]
    if not all(places):
        return None
    return [
        Ranking((Answer(row.context[start:end], score, start, end),), ratio)
        for row, (start, end, score, ratio) in zip(rows, places, strict=True)
    ]


def keep_answers(folder: Path, decoding: Decoding, rows: Sequence[Row], rankings: Sequence[Ranking]) -> None:
    """Writes the answers of the graph and the tokenizer in `folder`. A row that has only an error is left out."""
    places = {
        row_key(row.question, row.context): [best.start, best.end, round(best.score, 6), round(ranking.ratio, 6)]
        for row, ranking in zip(rows, rankings, strict=True)
        if (best := ranking.answers[0]).score is not None
    }
    lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(place)}" for key, place in sorted(places.items()))
    by, flags = json.dumps(identity(folder, decoding)), json.dumps(cpu()["flags"])
    KEPT.write_text(f'{{\n  "by": {by},\n  "cpu": {flags},\n  "answers": {{\n{lines}\n  }}\n}}\n', "utf-8")


def identity(folder: Path, decoding: Decoding) -> dict[str, Any]:
    """What the answers depend on, besides the row."""
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, TOKENIZER)}
    return {**digests, "decoding": dataclasses.asdict(decoding)}


def row_key(question: str, context: str) -> str:
    """A digest of one row."""
    return hashlib.sha256(json.dumps([question, context]).encode()).hexdigest()[:16]


def main(argv: Sequence[str] | None = None) -> int:
    """Answers the samples, and keeps the answers. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export.kept_answers", description=__doc__)
    parser.add_argument("bundle", type=command.location, metavar="BUNDLE", help="a folder that `export` wrote")
    return command.run("kept_answers", _answer_samples, parser.parse_args(argv))


def _answer_samples(options: argparse.Namespace) -> int:
    answerer, rows = Answerer.load(options.bundle), read_rows(Path("samples"))
    keep_answers(options.bundle, answerer.bundle.manifest.decoding, rows, verify.rankings(answerer, rows))
    return command.DONE


if __name__ == "__main__":
    sys.exit(main())
