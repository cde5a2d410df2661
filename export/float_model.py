"""Checkpoint -> fused fp32 graph, and its answers to the rows, with which those of int8 are compared."""

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from export import alignment, bundle, verify
from export.checkpoint import Checkpoint
from export.convert import ConvertedModel, convert
from export.fuse import fuse, optimise
from export.kept_answers import kept_answers
from export.request import ExportRequest
from export.steps import step
from runtime.answer import Answer
from runtime.answerer import Answerer
from runtime.bundle import MODEL, TOKENIZER, Bundle
from runtime.cpu import available_cpus
from runtime.manifest import Manifest, Source
from runtime.windows import Windower


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


def make_float_model(source: Checkpoint, request: ExportRequest, work: Path) -> FloatModel:
    """Converts, fuses and answers the rows in fp32."""
    plain, folder, fused = work / "converted", work / "float", work / "fused.onnx"
    plain.mkdir()
    folder.mkdir()
    with step("convert"):
        converted = convert(source, plain)
    alignment.check_offsets(Tokenizer.from_file(str(plain / TOKENIZER)), request.rows, source.name)
    with step("fuse"):
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
    with step("answer"):
        manifest, answers = _float_answers(manifest, folder, plain, request)
    windower = Windower(plain / TOKENIZER, converted.inputs.cls_token_id, converted.decoding)
    return FloatModel(converted, manifest, folder, fused, windower, answers)


def _float_answers(
    manifest: Manifest, folder: Path, plain: Path, request: ExportRequest
) -> tuple[Manifest, Sequence[Answer]]:
    """The answers of the model in `folder`; without alignment to words if that makes most of them whole contexts."""

    def answers(align: bool) -> tuple[Manifest, Sequence[Answer]]:
        changed = dataclasses.replace(manifest, decoding=dataclasses.replace(manifest.decoding, align_to_words=align))
        answerer = unfinished_answerer(folder, changed, plain)
        if kept := kept_answers(folder, changed.decoding, request.rows):
            logging.info("the fp32 answers to these rows are known")
            return changed, kept
        return changed, verify.answers(answerer, request.rows)

    aligned = answers(request.align_to_words is not False)
    whole = alignment.whole_contexts(aligned[1], request.rows)
    if request.align_to_words is not None or whole <= alignment.MOST_WHOLE:
        return aligned
    unaligned = answers(False)
    if alignment.whole_contexts(unaligned[1], request.rows) >= whole:
        return aligned
    logging.warning(
        "%.0f%% of the answers are their whole context, because the tokenizer takes sentences for words: the bundle "
        "does not align answers to words (--align-to-words yes does)",
        100 * whole,
    )
    return unaligned


def unfinished_answerer(folder: Path, manifest: Manifest, converted: Path) -> Answerer:
    """An answerer for a model that is no bundle yet."""
    if not (folder / TOKENIZER).exists():
        shutil.copy(converted / TOKENIZER, folder)
    unfinished = Bundle(folder, manifest)
    return Answerer(unfinished, unfinished.session(), available_cpus())
