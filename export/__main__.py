"""`python -m export MODEL --output FOLDER`: convert, fuse, quantize, verify, write."""

import argparse
import dataclasses
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from export import bundle, checkpoint, verify
from export.card import card
from export.checkpoint import DEFAULT_MODEL, DEFAULT_REVISION, Checkpoint
from export.convert import Converted, convert
from export.evaluation import Row, read_rows
from export.fuse import fuse, optimise
from export.quantize import quantize
from runtime.answerer import Answerer
from runtime.bundle import MANIFEST, MODEL, TOKENIZER, Bundle
from runtime.errors import AnswermillError
from runtime.manifest import Manifest, Quantization, Source, Verification
from runtime.threads import available_cpus
from runtime.windows import Window, Windower

CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to export, and what it must show."""

    precision: str
    rows: Sequence[Row]
    thresholds: verify.Thresholds


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Turns an extractive question-answering checkpoint into a verified ONNX bundle.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Exit codes: 0 written, 1 refused, 2 usage.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="hub id, or a folder")
    parser.add_argument(
        "--revision",
        help=f"commit, tag or branch of a hub id; for the default model: {DEFAULT_REVISION[:12]}",
    )
    parser.add_argument("--output", type=Path, default=Path("build/model"), help="folder of the bundle")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8", help="of the weights")
    parser.add_argument(
        "--evaluate",
        type=Path,
        default=Path("samples"),
        help="folder of CSVs, CSV, or SQuAD JSON to verify on",
    )
    parser.add_argument(
        "--min-agreement",
        type=float,
        default=verify.Thresholds().agreement,
        help="least share of rows answered as in fp32",
    )
    parser.add_argument("--quiet", action="store_true", help="errors only")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exports, or says in one line why not. Returns the exit code."""
    options = arguments(argv)
    logging.basicConfig(
        level=logging.ERROR if options.quiet else logging.INFO,
        stream=sys.stderr,
        format="export: %(message)s",
        force=True,
    )
    signal.signal(signal.SIGTERM, _terminate)
    try:
        rows = read_rows(options.evaluate)
        thresholds = dataclasses.replace(verify.Thresholds(), agreement=options.min_agreement)
        found = checkpoint.find(options.model, options.revision)
        export(found, options.output, Wish(options.precision, rows, thresholds))
    except AnswermillError as error:
        logging.error("%s", error)
    except OSError as error:
        logging.error("%s", f"{error.filename}: {error.strerror}" if error.filename else error)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    return 1


def export(source: Checkpoint, output: Path, wish: Wish) -> Manifest:
    """Writes the bundle of a checkpoint to `output`, or leaves `output` as it was.

    All work is done in a hidden folder beside `output`, on the same file system, so that the last step is a rename.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        folders = [Path(work, name) for name in ("converted", "float", "bundle")]
        for folder in folders:
            folder.mkdir()
        manifest = _make(source, wish, *folders)
        bundle.put_in_place(folders[-1], output)
    logging.info("wrote %s: %s", output, manifest.bundle_id)
    return manifest


def _make(source: Checkpoint, wish: Wish, plain: Path, floats: Path, final: Path) -> Manifest:
    """Fills `final` with a verified bundle, by way of the plain and the fused fp32 model."""
    with _step("convert"):
        converted = convert(source, plain)
    with _step("fuse"):
        fuse(plain / MODEL, floats / "fused.onnx")
        optimise(floats / "fused.onnx", floats / MODEL)
    windower = Windower(plain / TOKENIZER, converted.inputs.cls_token_id, converted.decoding)
    windows = verify.spread_of_windows(windower, wish.rows)
    quantization = None
    if wish.precision == "int8":
        with _step("quantize"):
            quantization = quantize(floats / "fused.onnx", floats / "quantized.onnx", windows)
            optimise(floats / "quantized.onnx", final / MODEL)
    else:
        shutil.copy(floats / MODEL, final / MODEL)
    for name in (TOKENIZER, CONFIG):
        shutil.copy(plain / name, final / name)
    manifest = _manifest(source, converted, wish.precision, quantization, final)
    with _step("verify"):
        figures = _verify(converted, manifest, wish.rows, windows, (plain, floats, final))
        verify.check(figures, wish.thresholds)
    manifest = dataclasses.replace(manifest, verification=figures)
    (final / bundle.CARD).write_text(card(manifest), "utf-8")
    manifest = dataclasses.replace(manifest, files=bundle.digests(final))
    (final / MANIFEST).write_text(manifest.to_json(), "utf-8")
    return manifest


def _manifest(
    source: Checkpoint,
    converted: Converted,
    precision: str,
    quantization: Quantization | None,
    folder: Path,
) -> Manifest:
    return Manifest(
        source=Source(source.name, source.revision, source.licence),
        architecture=converted.architecture,
        precision=precision,
        inputs=converted.inputs,
        quantization=quantization,
        decoding=converted.decoding,
        verification=None,
        tools=bundle.tools(),
        cpu=bundle.cpu(),
        files=bundle.digests(folder),
    )


def _verify(
    converted: Converted,
    manifest: Manifest,
    rows: Sequence[Row],
    windows: Sequence[Window],
    folders: tuple[Path, Path, Path],
) -> Verification:
    plain, floats, final = (_answerer(folder, manifest, converted) for folder in folders)
    wanted, found = verify.answers(floats, rows), verify.answers(final, rows)
    float_accuracy, accuracy = verify.accuracy(wanted, rows), verify.accuracy(found, rows)
    return Verification(
        rows=len(rows),
        torch_difference=verify.torch_difference(converted.torch_model, plain, windows),
        fusion_difference=verify.logit_difference(floats, plain, windows),
        agreement=verify.agreement(found, wanted),
        exact_match=accuracy and accuracy.exact_match,
        f1=accuracy and accuracy.f1,
        float_exact_match=float_accuracy and float_accuracy.exact_match,
        float_f1=float_accuracy and float_accuracy.f1,
    )


def _answerer(folder: Path, manifest: Manifest, converted: Converted) -> Answerer:
    """An answerer for a model that is no bundle yet."""
    if not (folder / TOKENIZER).exists():
        shutil.copy(converted.folder / TOKENIZER, folder)
    unfinished = Bundle(folder, manifest)
    return Answerer(unfinished, unfinished.session(), available_cpus())


@contextmanager
def _step(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    logging.info("%-8s %5.1f s", name, time.monotonic() - began)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    """SIGTERM unwinds the stack, so that the working folder goes; the shell's code for it is 128 + 15."""
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
