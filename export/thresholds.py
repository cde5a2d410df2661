"""The gate: the thresholds that a bundle must meet to be written. Imports no heavy package."""

from dataclasses import dataclass

from runtime.manifest import Verification

# With fewer rows half a point of F1 is chance: if 3% of 500 answers differ, its standard error is 0.4.
MIN_ROWS_FOR_F1 = 500


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a bundle must meet to be written.

    Attributes:
        torch_difference: the most that a logit may differ between fp32 ONNX and torch. Rounding alone gives 1e-5.
        fusion_difference: the same between the fused and the unfused graph; GELU and softmax are reordered.
        agreement: the least share of rows on which the bundle answers as the fp32 model does.
        f1_drop: the most points of F1 that the bundle may lose to fp32; judged on `MIN_ROWS_FOR_F1` rows or more.

    """

    torch_difference: float = 1e-3
    fusion_difference: float = 1e-2
    agreement: float = 0.90
    f1_drop: float = 0.5


def missed_thresholds(figures: Verification, thresholds: Thresholds, judged: int) -> list[str]:
    """The thresholds that the figures miss, in words; `judged` is the number of rows with an expected answer."""
    faults = []
    for name, least in (("torch_difference", "torch"), ("fusion_difference", "the unfused graph")):
        measured, allowed = getattr(figures, name), getattr(thresholds, name)
        if not measured <= allowed:
            faults.append(f"logits differ from {least} by {measured:.2g} (at most {allowed:.2g})")
    if figures.agreement < thresholds.agreement:
        faults.append(
            f"answers agree with fp32 on {figures.agreement:.1%} of {figures.rows} rows "
            f"(at least {thresholds.agreement:.1%})"
        )
    if judged >= MIN_ROWS_FOR_F1 and figures.f1 is not None and figures.float_f1 is not None:
        drop = figures.float_f1 - figures.f1
        if drop > thresholds.f1_drop:
            faults.append(f"F1 is {drop:.1f} points below that of fp32 (at most {thresholds.f1_drop:.1f})")
    return faults
