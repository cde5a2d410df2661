"""Checkpoint -> bundle: convert, fuse, quantize, verify, write; complete, or not there at all."""

import dataclasses
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from export import alignment, bundle, calibration, verify, workspace
from export.checkpoint import Checkpoint
from export.convert import CONFIG, ConvertedModel, convert, first_line
from export.evaluation import Row
from export.fuse import fuse, optimise
from export.int8.activations import Activation, observe
from export.int8.quantize import quantize
from export.int8.recipe import Recipe
from export.int8.sweep import Trial, best, candidates, table
from export.second_look import write_second_look
from export.thresholds import Thresholds, missed_thresholds
from runtime.answer import Answer
from runtime.answerer import Answerer
from runtime.bundle import MANIFEST, MODEL, TOKENIZER, Bundle
from runtime.cpu import available_cpus
from runtime.errors import AnswermillError, ExportError
from runtime.manifest import Manifest, Quantization, SecondLook, Source, Verification
from runtime.rows import Ranking
from runtime.windows import Windower

# The work takes this many times the checkpoint's size: converted, fused, optimised, quantized, and one to spare.
DISK_FACTOR = 5


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and what the bundle must show.

    Attributes:
        recipe: how to quantize; None for fp32.
        rows: rows to verify on and to measure activations on.
        thresholds: what the bundle must meet to be written.
        force: whether to write a bundle that misses the thresholds, and say so in it.
        sweep: whether to try other recipes too, and take the best.
        align_to_words: whether answers grow to whole words by default; None to find out on the rows.
        source: where the rows come from, in the words of the card.
        second_look: whether an int8 bundle also holds the fp32 graph, to answer near ties again.

    """

    recipe: Recipe | None
    rows: Sequence[Row]
    thresholds: Thresholds
    force: bool = False
    sweep: bool = False
    align_to_words: bool | None = None
    second_look: bool = True
    source: str = "the samples"


@dataclass(frozen=True, slots=True)
class FloatModel:
    """The fp32 model: converted in its own folder, fused in `folder`, and its answers to the rows.

    Attributes:
        fused: the fused graph, before onnxruntime's own optimisations; int8 is made from it.
        windower: cuts rows into this model's windows.
        manifest: all that is known before quantization and verification.

    """

    converted: ConvertedModel
    manifest: Manifest
    folder: Path
    fused: Path
    windower: Windower
    answers: Sequence[Answer]


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
        float_model = _float_model(source, request, work)
        quantization = _int8_model(float_model, request.recipe, request, folder) if request.recipe else None
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
            f"{parent}: no room, {free / 1e6:.0f} MB are free and the export of {source.name} works with "
            f"{needed / 1e6:.0f}: make room, or choose another --output"
        )


def _float_model(source: Checkpoint, request: ExportRequest, work: Path) -> FloatModel:
    """Converts, fuses and answers the rows in fp32."""
    plain, folder, fused = work / "converted", work / "float", work / "fused.onnx"
    plain.mkdir()
    folder.mkdir()
    with _step("convert"):
        converted = convert(source, plain)
    alignment.check_offsets(Tokenizer.from_file(str(plain / TOKENIZER)), request.rows, source.name)
    with _step("fuse"):
        fuse(plain / MODEL, fused)
        optimise(fused, folder / MODEL)
    manifest = Manifest(
        source=Source(source.name, source.revision, source.licence),
        architecture=converted.architecture,
        precision="int8" if request.recipe else "fp32",
        inputs=converted.inputs,
        quantization=None,
        decoding=converted.decoding,
        verification=None,
        tools=bundle.tools(),
        cpu=bundle.cpu(),
        files={},
    )
    with _step("answer"):
        manifest, answers = _float_answers(manifest, folder, plain, request)
    windower = Windower(plain / TOKENIZER, converted.inputs.cls_token_id, converted.decoding)
    return FloatModel(converted, manifest, folder, fused, windower, answers)


def _float_answers(
    manifest: Manifest, folder: Path, plain: Path, request: ExportRequest
) -> tuple[Manifest, Sequence[Answer]]:
    """The answers of the model in `folder`; without alignment to words where that makes most of them whole contexts."""

    def answers(align: bool) -> tuple[Manifest, Sequence[Answer]]:
        changed = dataclasses.replace(manifest, decoding=dataclasses.replace(manifest.decoding, align_to_words=align))
        return changed, verify.answers(_answerer(folder, changed, plain), request.rows)

    aligned = answers(request.align_to_words is not False)
    whole = alignment.whole_contexts(aligned[1], request.rows)
    if request.align_to_words is not None or whole <= alignment.MOST_WHOLE:
        return aligned
    unaligned = answers(False)
    if alignment.whole_contexts(unaligned[1], request.rows) >= whole:
        return aligned
    logging.warning(
        "%.0f%% of the answers are their whole context, as words of this script are sentences: answers are not aligned "
        "to words (--align-to-words yes aligns them)",
        100 * whole,
    )
    return unaligned


def _int8_model(float_model: FloatModel, recipe: Recipe, request: ExportRequest, folder: Path) -> Quantization:
    """Writes the int8 model to `folder`, by `recipe` or, if the request asks for a sweep, by the best one it finds."""
    with _step("observe"):
        windows = verify.spread_of_windows(float_model.windower, request.rows, verify.CALIBRATION_WINDOWS)
        activations = observe(float_model.fused, windows)
    if request.sweep:
        recipe = _sweep(float_model, activations, recipe, request)
    with _step("quantize"):
        return _write_int8(recipe, activations, float_model.fused, folder)


def _finish(
    float_model: FloatModel, quantization: Quantization | None, request: ExportRequest, folder: Path
) -> Manifest:
    """Verifies the model in `folder`, and completes the bundle with tokenizer, card and manifest."""
    for name in (TOKENIZER, CONFIG):
        shutil.copy(float_model.converted.folder / name, folder / name)
    with _step("verify"):
        figures, rankings = _verify(float_model, request.rows, folder)
    judged = sum(bool(row.expected) for row in request.rows)
    if missed := missed_thresholds(figures, request.thresholds, judged):
        if not request.force:
            way = "--precision fp32 avoids quantization, " if quantization else ""
            raise ExportError(f"the bundle is not written: {'; '.join(missed)}; {way}--force writes it all the same")
        logging.warning("forced: %s", "; ".join(missed))
        figures = dataclasses.replace(figures, missed=tuple(missed))
    look = None
    if quantization and request.second_look:
        with _step("second look"):
            look, rankings = _second_look(float_model, rankings, request.rows, folder)
    manifest = dataclasses.replace(
        float_model.manifest, quantization=quantization, verification=figures, second_look=look
    )
    manifest = calibration.add_confidence(manifest, folder, rankings, request.rows, request.source)
    manifest = dataclasses.replace(manifest, files=bundle.digests(folder))
    (folder / MANIFEST).write_text(manifest.to_json(), "utf-8")
    return manifest


def _write_int8(recipe: Recipe, activations: Mapping[str, Activation], fused: Path, folder: Path) -> Quantization:
    """Writes the optimised int8 model to `folder`."""
    quantization = quantize(fused, folder / "quantized.onnx", activations, recipe)
    optimise(folder / "quantized.onnx", folder / MODEL)
    (folder / "quantized.onnx").unlink()
    return quantization


def _sweep(
    float_model: FloatModel, activations: Mapping[str, Activation], default: Recipe, request: ExportRequest
) -> Recipe:
    """The best of the candidates; logs the outcome of each."""
    trials = []
    for name, recipe in candidates(default).items():
        folder = float_model.folder.with_name("trial")
        folder.mkdir()
        with _step(name):
            _write_int8(recipe, activations, float_model.fused, folder)
            answerer = _answerer(folder, float_model.manifest, float_model.converted.folder)
            began = time.perf_counter()
            answers = verify.answers(answerer, request.rows)
            seconds = time.perf_counter() - began
        trials.append(
            Trial(
                name=name,
                recipe=recipe,
                size=(folder / MODEL).stat().st_size,
                agreement=verify.agreement(answers, float_model.answers),
                accuracy=verify.accuracy(answers, request.rows),
                rows=len(request.rows) / seconds,
            )
        )
        shutil.rmtree(folder)
    floor = verify.accuracy(float_model.answers, request.rows)
    for line in table(trials, floor):
        logging.info("%s", line)
    chosen = best(trials, floor, request.thresholds, len(request.rows))
    logging.info("chosen: %s", chosen.name)
    return chosen.recipe


def _second_look(
    float_model: FloatModel, rankings: Sequence[Ranking], rows: Sequence[Row], folder: Path
) -> tuple[SecondLook, list[Ranking]]:
    """Adds the fp32 graph to the bundle in `folder`. Returns also the rankings that it changes."""

    def answerer(graph: Path) -> Answerer:
        unfinished = Bundle(folder, float_model.manifest)
        return Answerer(unfinished, unfinished.open_session(graph.name), available_cpus())

    graph, revision = float_model.folder / MODEL, float_model.manifest.source.revision
    return write_second_look(graph, revision, folder, rankings, float_model.answers, rows, answerer)


def _verify(float_model: FloatModel, rows: Sequence[Row], folder: Path) -> tuple[Verification, list[Ranking]]:
    """Compares the model in `folder` with the fused one, that with the unfused one, and that with torch."""
    converted = float_model.converted
    plain, fused, final = (
        _answerer(each, float_model.manifest, converted.folder)
        for each in (converted.folder, float_model.folder, folder)
    )
    windows = verify.spread_of_windows(float_model.windower, rows, verify.COMPARED_WINDOWS)
    to_torch, to_plain = verify.logit_differences(converted.torch_model, plain, fused, windows)
    rankings = list(final.rankings((row.question, row.context) for row in rows))
    answers = [ranking.answers[0] for ranking in rankings]
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


def _answerer(folder: Path, manifest: Manifest, converted: Path) -> Answerer:
    """An answerer for a model that is no bundle yet."""
    if not (folder / TOKENIZER).exists():
        shutil.copy(converted / TOKENIZER, folder)
    unfinished = Bundle(folder, manifest)
    return Answerer(unfinished, unfinished.session(), available_cpus())


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Logs how long a step took. Raises ExportError for what the libraries raise in it, which has no common base."""
    began = time.monotonic()
    try:
        yield
    except (AnswermillError, OSError):
        raise
    except Exception as error:  # numpy's LinAlgError, torch's and onnxruntime's own, MemoryError
        logging.debug("the step %s failed", name, exc_info=True)
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ExportError(f"the step {name!r} failed: {reason}; {_remedy(error)}") from error
    logging.info("%-8s %5.1f s", name, time.monotonic() - began)


def _remedy(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "run where more memory is free"
    return "--precision fp32 avoids quantization; if it fails too, please report the checkpoint"
