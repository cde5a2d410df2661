"""The manifest of a bundle: all that is needed to run it and to trust it. Written by `export`, read here."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.decoding import Decoding
from runtime.errors import BundleError, OptionError
from runtime.typed_json import Dialect, Scalar, abbreviate, read

FORMAT_VERSION = 1
# The largest number that every reader of JSON keeps exactly.
LARGEST = 2**53
# Files that no answer depends on.
_FOR_PEOPLE = ("README.md", "reliability.svg")


def _scalar(kind: type, spoken: str) -> Callable[[Any], Scalar]:
    accepted = (int, float) if kind is float else kind

    def read_scalar(raw: Any) -> Scalar:
        if not isinstance(raw, accepted) or (isinstance(raw, bool) and kind is not bool):
            return Scalar(reason=f"must be {spoken}, not {abbreviate(raw)}")
        if isinstance(raw, int) and abs(raw) > LARGEST:
            return Scalar(reason="a number is too large")
        return Scalar(raw)

    return read_scalar


_SPOKEN: Mapping[type, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_DIALECT = Dialect({kind: _scalar(kind, spoken) for kind, spoken in _SPOKEN.items()})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the checkpoint came from.

    Attributes:
        checkpoint: hub id, or the folder's name for a local one.
        revision: commit of the hub, or `sha256:…` of the weights for a local folder.
        licence: what the checkpoint's card states, or None if it states nothing.

    """

    checkpoint: str
    revision: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the model is fed.

    Attributes:
        max_tokens: the longest window the model's positions allow.
        cls_token_id: id of [CLS], which may begin and end a span; None if the tokenizer has none.
        token_types: whether segment ids tell the question from the context; if not, the model gets zeros.

    """

    max_tokens: int
    cls_token_id: int | None
    token_types: bool


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights became int8.

    Attributes:
        weights: range and granularity of the weights.
        activations: how scales of the activations are found.
        float_nodes: matrix products that were left in fp32.
        cpu_flags: CPU flags the figures depend on; empty for a portable bundle.

    """

    weights: str
    activations: str
    float_nodes: tuple[str, ...]
    cpu_flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """What the gate of the export measured.

    Attributes:
        rows: rows compared.
        torch_difference: largest difference of a logit, fp32 ONNX against torch.
        fusion_difference: largest difference of a logit, fused against unfused.
        agreement: share of rows whose answer (text, start, end) equals that of the fp32 model.
        exact_match: SQuAD exact match in percent, over rows with an expected answer; None without such rows.
        f1: SQuAD F1 in percent.
        float_exact_match: exact match of the fp32 model on the same rows.
        float_f1: F1 of the fp32 model on the same rows.
        missed: thresholds that the bundle misses, in words; not empty only if the export was forced.

    """

    rows: int
    torch_difference: float
    fusion_difference: float
    agreement: float
    exact_match: float | None
    f1: float | None
    float_exact_match: float | None
    float_f1: float | None
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SecondLook:
    """When the fp32 graph beside the int8 one answers a row again, and what that was measured to bring.

    Attributes:
        ratio: a row is looked at again if its `Ranking.closeness` is at least this.
        weights: how the fp32 graph's weights are stored: float16 if that changes no answer, else float32.
        rows: rows that the ratio was chosen on.
        share: share of them that is looked at again.
        agreement: share of them answered as by the fp32 model.
        agreement_without: the same without a second look.
        ties: rows whose two best answers are equal to 1e-4 for the fp32 graph too; no precision decides these.

    """

    ratio: float
    weights: str
    rows: int
    share: float
    agreement: float
    agreement_without: float
    ties: int


@dataclass(frozen=True, slots=True)
class Confidence:
    """The logistic curve that makes confidences; `runtime.confidence` has the formula.

    Attributes:
        coefficients: of the constant, the log-odds of the score, the ratio of the second to the best, the log of words.
        rows: labelled rows that it was fitted on.
        source: where these came from.
        calibration_error: mean distance of confidence and share of right answers, on folds left out of the fit.

    """

    coefficients: tuple[float, ...]
    rows: int
    source: str
    calibration_error: float


@dataclass(frozen=True, slots=True)
class FileDigest:
    """sha256 (hex) and size (bytes) of one file of the bundle."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle's manifest, as it stands in `manifest.json`.

    Attributes:
        tools: versions of the packages that made the bundle.
        cpu: model name and flags of the exporting machine.
        files: every file of the bundle but the manifest itself.

    """

    source: Provenance
    architecture: str
    precision: str
    inputs: Inputs
    quantization: Quantization | None
    decoding: Decoding
    verification: Verification | None
    tools: Mapping[str, str]
    cpu: Mapping[str, str]
    files: Mapping[str, FileDigest]
    format_version: int = FORMAT_VERSION
    second_look: SecondLook | None = None
    confidence: Confidence | None = None

    @property
    def bundle_id(self) -> str:
        """Short name that answers are signed with; bundles share it only if they answer alike."""
        name = self.source.checkpoint.rsplit("/", 1)[-1]
        digests = "".join(self.files[f].sha256 for f in sorted(self.files) if f not in _FOR_PEOPLE)
        digests += f"{self.architecture} {self.inputs.cls_token_id} {self.inputs.token_types}"
        # An option that is new one day changes no id where it has its default.
        if self.decoding != Decoding():
            digests += f"{self.decoding!r}"
        if self.second_look:
            digests += f"second look by closeness {self.second_look.ratio!r}"
        if self.confidence:
            digests += f"confidence {self.confidence.coefficients!r}"
        return f"{name}-{self.precision}-{hashlib.sha256(digests.encode()).hexdigest()[:12]}"

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Raises BundleError for what is no manifest, or one of another format version."""
        try:
            raw = json.loads(text)
            version = raw["format_version"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BundleError("manifest.json is damaged: export the bundle again") from error
        if version != FORMAT_VERSION:
            raise BundleError(
                f"manifest.json has format version {version!r:.40}, this version of answermill reads {FORMAT_VERSION}: "
                "export the bundle again"
            )
        try:
            manifest, problems = read(cls, raw, _DIALECT)
        except OptionError as error:
            raise BundleError(f"manifest.json is damaged ({error}): export the bundle again") from error
        if problems or manifest is None:
            reasons = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems)
            raise BundleError(f"manifest.json is damaged ({reasons}): export the bundle again")
        return manifest
