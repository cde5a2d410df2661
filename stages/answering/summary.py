"""The line that ends a run."""

import logging

from runtime.logs import summarise
from stages.answering.rows import Counts

# Fewer answers say nothing about a model.
MIN_ROWS_TO_JUDGE = 20


def log_counts(model: str, counts: Counts, seconds: float, names: list[str]) -> None:
    """Says what a run did, and warns of a model that finds no words."""
    figures = {
        "files": counts.files,
        "rows": counts.rows,
        "answered": counts.rows - counts.errors.total() - counts.weak,
        "below_min_score": counts.weak,
        "errors": dict(counts.errors),
        "unchanged_files": counts.unchanged,
        "reused_rows": counts.reused,
        "seconds": round(seconds, 2),
        "rows_per_second": round(counts.rows / seconds, 1) if seconds else 0.0,
        "tokens_per_second": round(counts.tokens / seconds) if seconds else 0,
        "model": model,
        # A set's log does not say which datum a line belongs to.
        **({"file": names[0]} if len(names) == 1 else {}),
    }
    summarise("done", figures)
    if counts.rows >= MIN_ROWS_TO_JUDGE and counts.whole > counts.rows / 2:
        logging.warning(
            "%d of %d answers are their whole context, which counts as one word in scripts without blanks; "
            "try --align-to-words no",
            counts.whole,
            counts.rows,
        )
