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
from runtime.manifest import Manifest, Provenance
from runtime.rows import Ranking
from runtime.windows import Windower


@dataclass(frozen=True, slots=True)
class FloatModel:
    """The fp32 model: converted in its own folder, fused in `folder`, and its answers to the rows.

    Attributes:
        fused: the fused graph, before onnxruntime's own optimisations; int8 is made from it.
        windower: cuts rows into this model's windows.
        manifest: all that is known before quantization and verification.
        rankings: its answers to the rows.

    """

    converted: ConvertedModel
    manifest: Manifest
    folder: Path
    fused: Path
    windower: Windower
    rankings: Sequence[Ranking]

    @property
    def answers(self) -> list[Answer]:
        """The best answer to each row."""
        return verify.best_answers(self.rankings)


def make_float_model(source: Checkpoint, request: ExportRequest, work: Path) -> FloatModel:
    """Converts, fuses and answers the rows in fp32."""
    plain, folder, fused = work / "converted", work / "float", work / "fused.onnx"
    plain.mkdir()
    folder.mkdir()
    with step("convert"):
        converted = convert(source, plain)
        source.check_unchanged()
    tokenizer = Tokenizer.from_file(str(plain / TOKENIZER))
    alignment.check_offsets(tokenizer, request.rows, source.name)
    with step("fuse"):
        fuse(plain / MODEL, fused)
        optimise(fused, folder / MODEL)
    manifest = Manifest(
        source=Provenance(source.name, source.revision, source.licence),
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
        manifest, rankings = _float_rankings(manifest, folder, plain, request)
    windower = Windower(tokenizer, converted.inputs.cls_token_id, converted.decoding)
    return FloatModel(converted, manifest, folder, fused, windower, rankings)


def _float_rankings(
    manifest: Manifest, folder: Path, plain: Path, request: ExportRequest
) -> tuple[Manifest, Sequence[Ranking]]:
    """The answers of the model in `folder`; without alignment to words if that makes most of them whole contexts."""

    def rankings(align: bool) -> tuple[Manifest, Sequence[Ranking]]:
        changed = dataclasses.replace(manifest, decoding=dataclasses.replace(manifest.decoding, align_to_words=align))
        answerer = unfinished_answerer(folder, changed, plain)
        if kept := kept_answers(folder, changed.decoding, request.rows):
            logging.info("the fp32 answers to these rows are known")
            return changed, kept
        return changed, verify.rankings(answerer, request.rows)

    def whole_contexts(rankings: Sequence[Ranking]) -> float:
        return alignment.whole_contexts(verify.best_answers(rankings), request.rows)

    aligned = rankings(request.align_to_words is not False)
    whole = whole_contexts(aligned[1])
    if request.align_to_words is not None or whole <= alignment.MOST_WHOLE:
        return aligned
    unaligned = rankings(False)
    if whole_contexts(unaligned[1]) >= whole:
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
