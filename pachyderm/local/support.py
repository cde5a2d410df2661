"""What specs may ask for on a cluster, but the local runner does not support."""

from collections.abc import Iterator, Mapping

from pachyderm.errors import PachydermError
from pachyderm.spec.fields import read_spec
from pachyderm.spec.globs import compile_glob
from pachyderm.spec.inputs import Cron, Pfs
from pachyderm.spec.model import Spec
from pachyderm.spec.reading import RawSpec

_REMEDY = "the local runner does not support them; run this pipeline on a cluster"


def unsupported_features(specs: Mapping[str, RawSpec]) -> Iterator[str]:
    """A line for each thing that keeps specs from running here: file, path, reason."""
    for where, raw in specs.items():
        spec, _ = read_spec(raw)
        for path, reason in (*_features(spec), *_inputs(spec), *_nothing_to_do(spec)):
            yield f"{where}: {path}: {reason}" if path else f"{where}: {reason}"


def _features(spec: Spec) -> Iterator[tuple[str, str]]:
    for path, value, spoken in (
        ("s3Out", spec.s3_out, "S3 output"),
        ("service", spec.service, "services"),
        ("spout", spec.spout, "spouts"),
        ("egress", spec.egress, "egress"),
        ("tfJob", spec.tf_job, "TensorFlow jobs"),
        ("determined", spec.determined, "Determined"),
    ):
        if value:
            yield path, f"{spoken}: {_REMEDY}"


def _inputs(spec: Spec) -> Iterator[tuple[str, str]]:
    for leaf in spec.input.leaves() if spec.input else ():
        if isinstance(leaf, Cron):
            continue
        for name, value, spoken in (
            ("s3", leaf.s3, "S3 inputs"),
            ("lazy", leaf.lazy, "lazy inputs"),
            ("trigger", leaf.trigger, "triggers"),
        ):
            if value:
                yield f"input.pfs.{name}", f"{spoken}: {_REMEDY}"
        if leaf.branch != "master" or spec.output_branch not in ("", "master"):
            yield "", f"branches other than master: {_REMEDY}"
        yield from _glob(leaf)


def _glob(pfs: Pfs) -> Iterator[tuple[str, str]]:
    try:
        compile_glob(pfs.glob)
    except PachydermError as error:
        yield "input.pfs.glob", str(error)


def _nothing_to_do(spec: Spec) -> Iterator[tuple[str, str]]:
    """What a cluster takes, and then never runs."""
    if not spec.input and not spec.spout:
        yield "input", "missing, so there is nothing to run on"
    if not spec.transform or not spec.transform.cmd:
        yield "transform.cmd", "missing, so there is nothing to run"
