"""The model card of a bundle, its README.md."""

from runtime.manifest import Manifest, SecondLook, Verification
from runtime.rows import APART


def card(manifest: Manifest, confidence: str) -> str:
    """Text of the bundle's README.md; `confidence` is its section on that."""
    source = manifest.source
    figures = manifest.verification
    quantization = manifest.quantization
    how = f"int8: {quantization.weights}; {quantization.activations}" if quantization else "fp32, not quantized"
    return f"""\
---
license: {source.licence or "unknown"}
pipeline_tag: question-answering
base_model: {source.checkpoint}
---

# {source.checkpoint.rsplit("/", 1)[-1]} for Answermill

Extractive question answering as one ONNX graph, for CPUs. `manifest.json` says the same to programs.

| | |
| --- | --- |
| checkpoint | `{source.checkpoint}` |
| revision | `{source.revision}` |
| licence | {source.licence or "not stated by the checkpoint"} |
| architecture | {manifest.architecture} |
| converted | optimum to ONNX, operators fused, graph optimised for loading |
| precision | {how} |
| windows | {manifest.decoding.max_seq_len} tokens, overlap {manifest.decoding.doc_stride} |
| exported on | {manifest.cpu["model"]} ({manifest.cpu["flags"]}) |

## Verified

{_warning(figures)}{_figures(figures) if figures else "Not verified."}
{_second_look(manifest.second_look) if manifest.second_look else ""}
{confidence}

## Use

```python
from answermill import Answerer

for answer in Answerer.load("path/to/this/folder").answer([("Who called?", "Ada called at noon.")]):
    print(answer.text, answer.score, answer.confidence)
```

## Limits

A checkpoint trained on SQuAD 1.1 always answers, even if the context holds no answer. Scores are probabilities within
one window of text, summed over mentions of the same answer; do not compare scores across very long contexts. Fused
attention has no mask: feed the graph one window per run, without padding, as the runtime does.
"""


def _second_look(look: SecondLook) -> str:
    return f"""
## Second look

`model-fp32.onnx` (weights stored as {look.weights}) answers a row again if the second-best answer scores at least
{look.ratio} of the best one, or {look.ratio ** (1 / APART):.2f} where the two share no letter. Of {look.rows} rows,
that is {look.share:.1%}. Without it,
{look.agreement_without:.1%} are answered exactly as by the fp32 model; with it, {look.agreement:.1%}.
{look.ties} rows are ties even for fp32 (equal to 1e-4).
"""


def _warning(figures: Verification | None) -> str:
    if figures is None or not figures.missed:
        return ""
    return f"**Exported by force. This bundle misses its thresholds: {'; '.join(figures.missed)}.**\n\n"


def _figures(figures: Verification) -> str:
    accuracy = ""
    if figures.exact_match is not None:
        accuracy = f"""
| exact match, fp32 model | {figures.float_exact_match:.1f}% |
| exact match, this bundle | {figures.exact_match:.1f}% |
| F1, fp32 model | {figures.float_f1:.1f}% |
| F1, this bundle | {figures.f1:.1f}% |"""
    return f"""\
| figure | value |
| --- | --- |
| rows | {figures.rows} |
| largest difference of a logit, fp32 ONNX against torch | {figures.torch_difference:.1e} |
| largest difference of a logit, fused against unfused | {figures.fusion_difference:.1e} |
| rows answered exactly as by the fp32 model | {figures.agreement:.1%} |{accuracy}"""
