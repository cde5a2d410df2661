"""Checkpoint -> bundle: convert, fuse, quantize, verify, write; complete, or not there at all."""

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from export import bundle, calibration, verify, workspace
from export.checkpoint import Checkpoint
from export.convert import CONFIG
from export.evaluation import Row
from export.float_model import FloatModel, make_float_model, unfinished_answerer
from export.int8_model import make_int8_model
from export.request import ExportRequest
from export.second_look import write_second_look
from export.steps import step
from export.thresholds import missed_thresholds
from runtime.answerer import Answerer
from runtime.bundle import MANIFEST, MODEL, TOKENIZER, Bundle
from runtime.cpu import available_cpus
from runtime.errors import ExportError
from runtime.manifest import Manifest, Quantization, SecondLook, Verification
from runtime.rows import Ranking

# An export needs this many times the checkpoint's size: converted, fused, optimised, quantized, and one to spare.
DISK_FACTOR = 5


def export(source: Checkpoint, output: Path, request: ExportRequest) -> Manifest:
    """Writes the bundle of a checkpoint to `output`, or leaves `output` as it was.

    Raises ExportError for a checkpoint that cannot be exported, and for a bundle that misses its thresholds.
    """
    output = output.absolute()
    # Before minutes are spent on the model.
    workspace.check_output_folder(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    _check_disk(source, output.parent)
    with workspace.working_folder(output) as work:
        folder = work / "bundle"
        folder.mkdir()
        float_model = make_float_model(source, request, work)
        quantization = make_int8_model(float_model, request.recipe, request, folder) if request.recipe else None
        if not quantization:
            shutil.copy(float_model.folder / MODEL, folder / MODEL)
        manifest = _finish(float_model, quantization, request, folder)
        workspace.publish(folder, output)
    logging.info("wrote %s: %s", output, manifest.bundle_id)
    return manifest


def _check_disk(source: Checkpoint, parent: Path) -> None:
    free, needed = shutil.disk_usage(parent).free, DISK_FACTOR * source.size
    if free < needed:
        raise ExportError(
            f"{parent}: {free / 1e6:.0f} MB are free, and the export of {source.name} needs {needed / 1e6:.0f}: "
            "make room, or choose another --output"
        )


def _finish(
    float_model: FloatModel, quantization: Quantization | None, request: ExportRequest, folder: Path
) -> Manifest:
    """Verifies the model in `folder`, and completes the bundle with tokenizer, card and manifest."""
    for name in (TOKENIZER, CONFIG):
        shutil.copy(float_model.converted.folder / name, folder / name)
    with step("verify"):
        figures, rankings = _verify(float_model, request.rows, folder)
    judged = sum(bool(row.expected) for row in request.rows)
    if missed := missed_thresholds(figures, request.thresholds, judged):
        if not request.force:
            way = "--precision fp32 avoids quantization, " if quantization else ""
            raise ExportError(f"the bundle is not written: {'; '.join(missed)}; {way}--force writes it anyway")
        logging.warning("forced: %s", "; ".join(missed))
        figures = dataclasses.replace(figures, missed=tuple(missed))
    look = None
    if quantization and request.second_look:
        with step("second look"):
            look, rankings = _second_look(float_model, rankings, request.rows, folder)
    manifest = dataclasses.replace(
        float_model.manifest, quantization=quantization, verification=figures, second_look=look
    )
    manifest = calibration.add_confidence(manifest, folder, rankings, request.rows, request.source)
    manifest = dataclasses.replace(manifest, files=bundle.digests(folder))
    (folder / MANIFEST).write_text(manifest.to_json(), "utf-8")
    return manifest


def _second_look(
    float_model: FloatModel, rankings: Sequence[Ranking], rows: Sequence[Row], folder: Path
) -> tuple[SecondLook, list[Ranking]]:
    """Adds the fp32 graph to the bundle in `folder`. Returns also the rankings that it changes."""

    def answerer(graph: Path) -> Answerer:
        unfinished = Bundle(folder, float_model.manifest)
        return Answerer(unfinished, unfinished.open_session(graph.name), available_cpus())

    graph, revision = float_model.folder / MODEL, float_model.manifest.source.revision
    observed = verify.observed_rows(float_model.windower, rows)
    return write_second_look(graph, revision, folder, rankings, float_model.rankings, rows, observed, answerer)


def _verify(float_model: FloatModel, rows: Sequence[Row], folder: Path) -> tuple[Verification, list[Ranking]]:
    """Compares the model in `folder` with the fused one, that with the unfused one, and that with torch."""
    converted = float_model.converted
    plain, fused, final = (
        unfinished_answerer(each, float_model.manifest, converted.folder)
        for each in (converted.folder, float_model.folder, folder)
    )
    windows = verify.spread_of_windows(float_model.windower, rows, verify.COMPARED_WINDOWS)
    to_torch, to_plain = verify.logit_differences(converted.torch_model, plain, fused, windows)
    rankings = verify.rankings(final, rows)
    answers = verify.best_answers(rankings)
    float_accuracy, accuracy = verify.accuracy(float_model.answers, rows), verify.accuracy(answers, rows)
    figures = Verification(
        rows=len(rows),
        torch_difference=to_torch,
        fusion_difference=to_plain,
        agreement=verify.agreement(answers, float_model.answers),
        exact_match=accuracy and accuracy.exact_match,
        f1=accuracy and accuracy.f1,
        float_exact_match=float_accuracy and float_accuracy.exact_match,
        float_f1=float_accuracy and float_accuracy.f1,
    )
    return figures, rankings
