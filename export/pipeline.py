"""Checkpoint -> bundle: convert, fuse, quantize, verify, write; complete, or not there at all."""

import dataclasses
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export import bundle, verify
from export.card import card
from export.checkpoint import Checkpoint
from export.convert import CONFIG, Converted, convert
from export.evaluation import Row
from export.fuse import fuse, optimise
from export.int8.activations import Activation, observe
from export.int8.quantize import Recipe, quantize
from export.int8.sweep import Trial, best, candidates, table
from runtime.answer import Answer
from runtime.answerer import Answerer
from runtime.bundle import MANIFEST, MODEL, TOKENIZER, Bundle
from runtime.cpu import available_cpus
from runtime.errors import ExportError
from runtime.manifest import Manifest, Quantization, Source, Verification
from runtime.windows import Window, Windower

# Sizes of the checkpoint that the work takes: converted, fused, optimised, quantized, and one to spare.
ROOM = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What to export, and what it must show.

    Attributes:
        recipe: how to quantize; None for fp32.
        rows: what to verify on, and to measure activations on.
        thresholds: what the gate lets through.
        force: whether to write what misses the thresholds, and say so in it.
        sweep: whether to try other recipes than this one, and take the best.

    """

    recipe: Recipe | None
    rows: Sequence[Row]
    thresholds: verify.Thresholds
    force: bool = False
    sweep: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """The fp32 model on its way: as converted, fused, what was seen inside it, and what it answers."""

    converted: Converted
    manifest: Manifest
    folder: Path
    seen: Mapping[str, Activation]
    answers: Sequence[Answer]


def export(source: Checkpoint, output: Path, wish: Wish) -> Manifest:
    """Writes the bundle of a checkpoint to `output`, or leaves `output` as it was.

    All work is done in a hidden folder beside `output`, on the same file system, so that the last step is a rename.
    Raises ExportError for what cannot be exported, and for what misses its thresholds.
    """
    output = output.absolute()
    # Before minutes are spent on the model.
    bundle.check_place(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(output.parent).free, ROOM * source.size
    if free < needed:
        raise ExportError(
            f"{output.parent}: no room, {free / 1e6:.0f} MB are free and the export of {source.name} works with "
            f"{needed / 1e6:.0f}: make room, or choose another --output"
        )
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        manifest, folder = _make(source, wish, Path(work))
        bundle.put_in_place(folder, output)
    logging.info("wrote %s: %s", output, manifest.bundle_id)
    return manifest


def _make(source: Checkpoint, wish: Wish, work: Path) -> tuple[Manifest, Path]:
    """A verified bundle in a folder below `work`."""
    plain, floats, final = (work / name for name in ("converted", "float", "bundle"))
    for folder in (plain, floats, final):
        folder.mkdir()
    with _step("convert"):
        converted = convert(source, plain)
    with _step("fuse"):
        fuse(plain / MODEL, work / "fused.onnx")
        optimise(work / "fused.onnx", floats / MODEL)
    windower = Windower(plain / TOKENIZER, converted.inputs.cls_token_id, converted.decoding)
    manifest = Manifest(
        source=Source(source.name, source.revision, source.licence),
        architecture=converted.architecture,
        precision="int8" if wish.recipe else "fp32",
        inputs=converted.inputs,
        quantization=None,
        decoding=converted.decoding,
        verification=None,
        tools=bundle.tools(),
        cpu=bundle.cpu(),
        files={},
    )
    with _step("answer"):
        answers = verify.answers(_answerer(floats, manifest, plain), wish.rows)
    seen: Mapping[str, Activation] = {}
    if wish.recipe:
        with _step("observe"):
            seen = observe(
                work / "fused.onnx", verify.spread_of_windows(windower, wish.rows, verify.CALIBRATION_WINDOWS)
            )
    found = Reference(converted, manifest, floats, seen, answers)
    recipe = _swept(found, wish.recipe, wish, work) if wish.sweep and wish.recipe else wish.recipe
    quantization = None
    if recipe:
        with _step("quantize"):
            quantization = _quantized(recipe, seen, work / "fused.onnx", final)
    else:
        shutil.copy(floats / MODEL, final / MODEL)
    for name in (TOKENIZER, CONFIG):
        shutil.copy(plain / name, final / name)
    manifest = dataclasses.replace(manifest, quantization=quantization)
    with _step("verify"):
        compared = verify.spread_of_windows(windower, wish.rows, verify.COMPARED_WINDOWS)
        figures = _verify(found, wish.rows, compared, final)
    if missed := verify.missed(figures, wish.thresholds, sum(bool(row.expected) for row in wish.rows)):
        if not wish.force:
            way = "--precision fp32 avoids quantization, " if recipe else ""
            raise ExportError(f"the bundle is not written: {'; '.join(missed)}; {way}--force writes it all the same")
        logging.warning("forced: %s", "; ".join(missed))
        figures = dataclasses.replace(figures, missed=tuple(missed))
    manifest = dataclasses.replace(manifest, verification=figures)
    (final / bundle.CARD).write_text(card(manifest), "utf-8")
    manifest = dataclasses.replace(manifest, files=bundle.digests(final))
    (final / MANIFEST).write_text(manifest.to_json(), "utf-8")
    return manifest, final


def _quantized(recipe: Recipe, seen: Mapping[str, Activation], fused: Path, folder: Path) -> Quantization:
    """Writes the optimised int8 model to `folder`."""
    quantization = quantize(fused, folder / "quantized.onnx", seen, recipe)
    optimise(folder / "quantized.onnx", folder / MODEL)
    (folder / "quantized.onnx").unlink()
    return quantization


def _swept(found: Reference, default: Recipe, wish: Wish, work: Path) -> Recipe:
    """The best of the candidates; logs what all of them gave."""
    trials = []
    for name, recipe in candidates(default).items():
        folder = work / "trial"
        folder.mkdir()
        with _step(name):
            _quantized(recipe, found.seen, work / "fused.onnx", folder)
            answerer = _answerer(folder, found.manifest, found.converted.folder)
            began = time.perf_counter()
            answers = verify.answers(answerer, wish.rows)
            seconds = time.perf_counter() - began
        trials.append(
            Trial(
                name=name,
                recipe=recipe,
                size=(folder / MODEL).stat().st_size,
                agreement=verify.agreement(answers, found.answers),
                accuracy=verify.accuracy(answers, wish.rows),
                rows=len(wish.rows) / seconds,
            )
        )
        shutil.rmtree(folder)
    floor = verify.accuracy(found.answers, wish.rows)
    for line in table(trials, floor):
        logging.info("%s", line)
    chosen = best(trials, floor, wish.thresholds, len(wish.rows))
    logging.info("chosen: %s", chosen.name)
    return chosen.recipe


def _verify(found: Reference, rows: Sequence[Row], windows: Sequence[Window], final: Path) -> Verification:
    plain, floats, made = (
        _answerer(folder, found.manifest, found.converted.folder)
        for folder in (found.converted.folder, found.folder, final)
    )
    answers = verify.answers(made, rows)
    float_accuracy, accuracy = verify.accuracy(found.answers, rows), verify.accuracy(answers, rows)
    return Verification(
        rows=len(rows),
        torch_difference=verify.torch_difference(found.converted.torch_model, plain, windows),
        fusion_difference=verify.logit_difference(floats, plain, windows),
        agreement=verify.agreement(answers, found.answers),
        exact_match=accuracy and accuracy.exact_match,
        f1=accuracy and accuracy.f1,
        float_exact_match=float_accuracy and float_accuracy.exact_match,
        float_f1=float_accuracy and float_accuracy.f1,
    )


def _answerer(folder: Path, manifest: Manifest, converted: Path) -> Answerer:
    """An answerer for a model that is no bundle yet."""
    if not (folder / TOKENIZER).exists():
        shutil.copy(converted / TOKENIZER, folder)
    unfinished = Bundle(folder, manifest)
    return Answerer(unfinished, unfinished.session(), available_cpus())


@contextmanager
def _step(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    logging.info("%-8s %5.1f s", name, time.monotonic() - began)
