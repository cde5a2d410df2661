"""Answers of `answer --top-k`: several to a row, while the table holds one."""

import polars as pl

from runtime.errors import InputError
from stages.csvs.columns import RANK
from stages.loading.copying import AnsweredCsv, reader_of
from stages.loading.target import Target


def refuse_ranks(csv: AnsweredCsv, target: Target) -> None:
    """Raises InputError for a CSV that has several answers to one of its rows.

    They would get the numbers of other rows, and take the places of those of the next part. A column of the name in
    front of the answers may also be the user's, so the rows say whether it holds ranks.
    """
    answer = target.names["answer"]
    rank = f"{answer.removesuffix('answer')}{RANK}"
    if (rank, answer) not in zip(csv.header, csv.header[1:], strict=False):
        return
    row, last = 0, None
    names = [rank, target.names["question"], target.names["context"]]
    for frame, _ in reader_of(csv, target).frames():
        pairs = frame.select(names) if last is None else pl.concat([last, frame.select(names)])
        number = pl.col(rank).cast(pl.Int64, strict=False)
        follows = (number == number.shift() + 1) & (number > 1)
        for name in names[1:]:
            follows &= pl.col(name).eq_missing(pl.col(name).shift())
        places = pairs.select(follows.fill_null(value=False).arg_true()).to_series()
        if len(places):
            raise InputError(
                "it holds several answers to one row, as --top-k writes them, and the table holds one",
                row=row + int(places[0]) + (last is None),
                column=rank,
                remedy="answer it again without --top-k",
            )
        row, last = row + frame.height, pairs.tail(1)
