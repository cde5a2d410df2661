"""`python -m export MODEL --output FOLDER`: convert, fuse, quantize, verify, write."""

import argparse
import errno
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from export import checkpoint
from export.checkpoint import DEFAULT_MODEL, DEFAULT_REVISION
from export.evaluation import read_rows
from export.int8.quantize import TARGETS, Recipe
from export.pipeline import ExportRequest, export
from export.verify import MIN_ROWS_FOR_F1, Thresholds
from runtime.errors import AnswermillError


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
        "--target",
        choices=tuple(TARGETS),
        default="portable",
        help="CPUs that int8 is made for; all but portable saturate elsewhere, with a warning",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="try other ways of quantizing too, and write the smallest good one"
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        default=Path("samples"),
        help="folder of CSVs, CSV, or SQuAD JSON to verify on",
    )
    limits = Thresholds()
    parser.add_argument(
        "--min-agreement", type=float, default=limits.agreement, help="least share of rows answered as in fp32"
    )
    parser.add_argument(
        "--max-f1-drop",
        type=float,
        default=limits.f1_drop,
        help=f"points of F1 that int8 may lose; without --sweep it is judged on {MIN_ROWS_FOR_F1} rows or more",
    )
    parser.add_argument(
        "--max-torch-difference", type=float, default=limits.torch_difference, help="of a logit, fp32 ONNX to torch"
    )
    parser.add_argument(
        "--max-fusion-difference", type=float, default=limits.fusion_difference, help="of a logit, fused to unfused"
    )
    parser.add_argument("--force", action="store_true", help="write a bundle that misses these, and say so in it")
    parser.add_argument("--quiet", action="store_true", help="errors only")
    options = parser.parse_args(argv)
    if options.sweep and options.precision == "fp32":
        parser.error("--sweep is about int8; fp32 leaves nothing to try")
    return options


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
        thresholds = Thresholds(
            options.max_torch_difference, options.max_fusion_difference, options.min_agreement, options.max_f1_drop
        )
        recipe = Recipe(target=options.target) if options.precision == "int8" else None
        found = checkpoint.find(options.model, options.revision)
        export(found, options.output, ExportRequest(recipe, rows, thresholds, options.force, options.sweep))
    except AnswermillError as error:
        logging.error("%s", error)
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f"{options.output}: no space left on the device; what was begun is removed"
        logging.error("%s", where)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    return 1


def _terminate(_signal: int, _frame: object) -> NoReturn:
    """SIGTERM unwinds the stack, so that the working folder goes; the shell's code for it is 128 + 15."""
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
