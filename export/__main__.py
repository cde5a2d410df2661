"""`answermill export MODEL --output FOLDER`: convert, fuse, quantize, verify, write."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from export.checkpoint import DEFAULT_MODEL, DEFAULT_REVISION
from export.int8.recipe import TARGETS, Recipe
from export.thresholds import MIN_ROWS_FOR_F1, Thresholds
from runtime import command


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command.parser(
        "export",
        "Turns an extractive question-answering checkpoint into a verified ONNX bundle.",
        "HF_HOME names the folder of the model hub's cache. HF_TOKEN holds the token for private and gated models.",
    )
    limits = Thresholds()
    parser.add_argument("model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="hub id or checkpoint folder")
    parser.add_argument(
        "--revision",
        help=f"commit, tag or branch on the hub; for the default model {DEFAULT_REVISION[:12]}",
    )
    parser.add_argument(
        "--output", type=command.location, default=Path("build/model"), help="folder to write the bundle to"
    )
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8", help="precision of the weights")
    parser.add_argument(
        "--target",
        choices=tuple(TARGETS),
        default="portable",
        help="kind of CPU that int8 is made for; only portable bundles answer alike on every CPU",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="try other ways to quantize too, and write the smallest good bundle"
    )
    parser.add_argument(
        "--evaluate",
        type=command.location,
        default=Path("samples"),
        help="rows to verify on: a CSV, a folder of CSVs, or a SQuAD JSON",
    )
    parser.add_argument(
        "--min-agreement",
        type=command.number,
        default=limits.agreement,
        help="smallest allowed share of rows with the same answer as in fp32",
    )
    parser.add_argument(
        "--max-f1-drop",
        type=command.number,
        default=limits.f1_drop,
        help=f"how many points of F1 int8 may lose; without --sweep checked only with {MIN_ROWS_FOR_F1} rows or more",
    )
    parser.add_argument(
        "--max-torch-difference",
        type=command.number,
        default=limits.torch_difference,
        help="largest allowed difference between a logit of the fp32 ONNX graph and torch's",
    )
    parser.add_argument(
        "--max-fusion-difference",
        type=command.number,
        default=limits.fusion_difference,
        help="largest allowed difference between a logit of the fused and of the unfused graph",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write the bundle even if it misses these thresholds; its card names what it misses",
    )
    parser.add_argument(
        "--align-to-words",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the bundle's answers grow to whole words; auto is yes unless most answers become whole contexts",
    )
    parser.add_argument(
        "--second-look",
        choices=("auto", "off"),
        default="auto",
        help="whether an int8 bundle also holds the fp32 graph, to answer near ties again",
    )
    parser.add_argument("--quiet", action="store_true", help="log only errors")
    options = parser.parse_args(argv)
    if options.sweep and options.precision == "fp32":
        parser.error("--sweep tries ways to quantize, and --precision fp32 does not quantize: leave one out")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exports a checkpoint. Returns the exit code."""
    return command.run("export", _export, arguments(argv))


def _export(options: argparse.Namespace) -> int:
    if options.quiet:
        logging.getLogger().setLevel(logging.ERROR)
    # Here, since the packages below take a second to import and `--help` needs none of them.
    from export import checkpoint
    from export.evaluation import read_rows
    from export.pipeline import export
    from export.request import ExportRequest

    rows = read_rows(options.evaluate)
    thresholds = Thresholds(
        options.max_torch_difference, options.max_fusion_difference, options.min_agreement, options.max_f1_drop
    )
    recipe = Recipe(target=options.target) if options.precision == "int8" else None
    source = checkpoint.find(options.model, options.revision)
    align = {"auto": None, "yes": True, "no": False}[options.align_to_words]
    request = ExportRequest(
        recipe,
        rows,
        thresholds,
        options.force,
        options.sweep,
        align,
        second_look=options.second_look == "auto",
        source=options.evaluate.name,
    )
    export(source, options.output, request)
    return command.DONE


if __name__ == "__main__":
    sys.exit(main())
