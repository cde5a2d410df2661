"""The fp32 answers that come with the package are those that the shipped checkpoint gives."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from export.bundle import cpu
from export.evaluation import read_rows
from export.kept_answers import KEPT, identity, kept_answers
from export.verify import agreement, best_answers, rankings
from runtime import Answerer, Bundle
from runtime.bundle import MODEL
from tests.conftest import SAMPLES

ROWS = read_rows(SAMPLES)
AGAIN = "run `python -m export.kept_answers BUNDLE` on an fp32 bundle"


def test_kept_answers_are_those_of_the_fp32_bundle(fp32_bundle: Path) -> None:
    """Every sample has one; a few are compared here, and all by the slow test below."""
    decoding = Bundle.open(fp32_bundle).manifest.decoding
    kept = json.loads(KEPT.read_text("utf-8"))
    # On another kind of CPU the graph may differ in its constants' last bits, and the export then answers again.
    if kept["cpu"] == cpu()["flags"]:
        assert kept["by"] == identity(fp32_bundle, decoding), AGAIN
        assert kept_answers(fp32_bundle, decoding, ROWS), AGAIN
    check(fp32_bundle, len(ROWS) // 10)


@pytest.mark.slow
def test_every_kept_answer_is_that_of_the_fp32_bundle(fp32_bundle: Path) -> None:
    check(fp32_bundle, 1)


def check(bundle: Path, every: int) -> None:
    rows = ROWS[::every]
    answerer = Answerer.load(bundle)
    wanted = rankings(answerer, rows)
    kept = kept_answers(bundle, answerer.bundle.manifest.decoding, rows)
    if kept:
        assert agreement(best_answers(kept), best_answers(wanted)) == 1, AGAIN
        scores = [answer.score for answer in best_answers(wanted)]
        assert [answer.score for answer in best_answers(kept)] == pytest.approx(scores, abs=1e-4)
        assert [each.ratio for each in kept] == pytest.approx([each.ratio for each in wanted], abs=1e-4), AGAIN


def test_kept_answers_are_of_one_graph_decoding_and_row(fp32_bundle: Path, tmp_path: Path) -> None:
    """For anything else there are none, and the export answers the rows itself."""
    decoding = Bundle.open(fp32_bundle).manifest.decoding
    unaligned = dataclasses.replace(decoding, align_to_words=False)
    assert kept_answers(fp32_bundle, unaligned, ROWS) is None
    assert kept_answers(fp32_bundle, decoding, [*ROWS, dataclasses.replace(ROWS[0], question="Who?")]) is None
    other = shutil.copytree(fp32_bundle, tmp_path / "other")
    with (other / MODEL).open("ab") as file:
        file.write(b"\0")
    assert kept_answers(other, decoding, ROWS) is None
