"""`python -m benchmarks.fp32_answers BUNDLE`: keeps an fp32 bundle's answers to samples/ for the export.

BUNDLE is of the shipped checkpoint: `answermill export models/minilm-qa --precision fp32 --output BUNDLE`.
"""

import sys
from pathlib import Path

from export.evaluation import read_rows
from export.kept_answers import keep_answers
from export.verify import answers
from runtime import Answerer


def main(folder: str) -> int:
    """Answers the samples, and writes the answers. Returns the exit code."""
    answerer, rows = Answerer.load(folder), read_rows(Path("samples"))
    keep_answers(Path(folder), answerer.bundle.manifest.decoding, rows, answers(answerer, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
