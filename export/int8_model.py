"""Fused fp32 graph -> int8 graph, by one recipe or by the best of a sweep."""

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from export import verify
from export.float_model import FloatModel, unfinished_answerer
from export.fuse import optimise
from export.int8.activations import Activation, observe
from export.int8.quantize import quantize
from export.int8.recipe import Recipe
from export.int8.sweep import Trial, best, candidates, table
from export.request import ExportRequest
from export.steps import step
from runtime.bundle import MODEL
from runtime.manifest import Quantization


def make_int8_model(float_model: FloatModel, recipe: Recipe, request: ExportRequest, folder: Path) -> Quantization:
    """Writes the int8 model to `folder`, by `recipe` or, if the request asks for a sweep, by the best one it finds."""
    with step("observe"):
        windows = verify.spread_of_windows(float_model.windower, request.rows, verify.CALIBRATION_WINDOWS)
        activations = observe(float_model.fused, windows)
    if request.sweep:
        recipe = _sweep(float_model, activations, recipe, request)
    with step("quantize"):
        return _write_int8(recipe, activations, float_model.fused, folder)


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
        with step(name):
            _write_int8(recipe, activations, float_model.fused, folder)
            answerer = unfinished_answerer(folder, float_model.manifest, float_model.converted.folder)
            began = time.perf_counter()
            answers = verify.best_answers(verify.rankings(answerer, request.rows))
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
