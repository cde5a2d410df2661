"""How to quantize: the choices that a user or a sweep makes. Imports no heavy package, so `--help` is quick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.manifest import Quantization

# The most steps of one weight; of two neighbours in sum, on any CPU; and where the CPU sums in 32 bits.
LARGEST, PORTABLE_PAIR_LIMIT, UNLIMITED = 127, 128, 2 * 127
# Kind of CPU -> the most steps that two neighbouring weights may have in sum (rounding.py says why), and the CPU flags
# that the bundle then depends on.
TARGETS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "portable": (PORTABLE_PAIR_LIMIT, ()),
    "avx512_vnni": (UNLIMITED, ("avx512_vnni",)),
    "arm64": (UNLIMITED, ("asimddp",)),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to quantize. The defaults are what the sweep on the shipped checkpoint chose (docs/export.md).

    Attributes:
        target: a key of `TARGETS`; sets the limit that two neighbouring weights share.
        per_channel: one weight scale for each output of a product, instead of one for all.
        split_outliers: balance the inputs of products, and multiply their widest channels in fp32.
        gptq: round weights so that errors cancel, instead of each to its nearest step.
        embeddings: make embedding tables int8 too.
        static: fix the activation scales from the calibration windows, instead of finding them for each window.
        by_token: find a scale for each token if a product's input is wider than its output.
        float_products: products whose name contains one of these stay in fp32.

    """

    target: str = "portable"
    per_channel: bool = True
    split_outliers: bool = True
    gptq: bool = True
    embeddings: bool = True
    static: bool = False
    by_token: bool = True
    float_products: tuple[str, ...] = ("qa_outputs",)

    @property
    def pair_limit(self) -> int:
        """The most steps that two neighbouring weights may have in sum."""
        return TARGETS[self.target][0]

    def describe(self, float_nodes: Sequence[str]) -> Quantization:
        """What the manifest says of this recipe."""
        limit = self.pair_limit
        weights = [
            "signed, 8 bits" + ("" if limit == UNLIMITED else f", two neighbours within {limit} in sum"),
            "per output channel" if self.per_channel else "one scale per product",
            "rounded with compensation" if self.gptq else "rounded to nearest",
            "embeddings in 8 bits, per row" if self.embeddings else "embeddings in fp32",
        ]
        activations = [
            "unsigned, 8 bits",
            "fixed scales" if self.static else "scales found for each window",
            *(["for each token of inputs wider than the output"] if self.by_token and not self.static else []),
            *(["channels balanced, the widest apart in fp32"] if self.split_outliers else []),
        ]
        return Quantization(", ".join(weights), ", ".join(activations), tuple(float_nodes), TARGETS[self.target][1])
