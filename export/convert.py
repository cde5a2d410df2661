"""Checkpoint -> fp32 ONNX, with optimum; and the tokenizer as one `tokenizer.json`."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint
from export.quiet import quiet
from runtime.bundle import MODEL, TOKENIZER
from runtime.decoding import Decoding, default_doc_stride
from runtime.errors import ExportError
from runtime.manifest import Inputs

CONFIG = "config.json"
# Tokens; a shorter window has no room for a question and a context.
_SHORTEST = 8
# How the name of every weight in a layer begins: `bert.encoder.layer.3.output.dense.weight`.
_LAYER = re.compile(r".*\blayers?\.\d+\.")
AGAIN = "download the checkpoint again, or save it again with save_pretrained"


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """An fp32 ONNX model and its tokenizer in `folder`, and the torch model whose logits it must give."""

    folder: Path
    torch_model: Any
    inputs: Inputs
    decoding: Decoding
    architecture: str


def convert(checkpoint: Checkpoint, folder: Path) -> ConvertedModel:
    """Writes model, tokenizer and config into `folder`.

    Raises ExportError for weights without a question-answering head, and for tokenizers that have no fast form or put
    the question last.
    """
    with quiet():
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
                checkpoint.folder, use_fast=True, trust_remote_code=False
            )
        except Exception as error:  # transformers raises whatever its converters meet
            raise ExportError(
                f"{checkpoint.name}: its tokenizer cannot be loaded: {first_line(error)}; {AGAIN}"
            ) from error
        model = _torch_model(checkpoint)
        _check_tokenizer(checkpoint, tokenizer)
        _check_added_tokens(checkpoint, tokenizer.backend_tokenizer)
        _check_embeddings(checkpoint, tokenizer, model)
        _export(model, folder)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(folder / TOKENIZER))
    limit = max_tokens(model.config, tokenizer.model_max_length)
    length = min(limit, Decoding().max_seq_len)
    return ConvertedModel(
        folder,
        model,
        Inputs(limit, tokenizer.cls_token_id, has_token_types(model, tokenizer)),
        Decoding(max_seq_len=length, doc_stride=default_doc_stride(length)),
        model.config.model_type,
    )


def has_token_types(model: Any, tokenizer: Any) -> bool:
    """Whether the model takes segment ids and the tokenizer gives them; a DistilBERT may come with BERT's tokenizer."""
    return (
        "token_type_ids" in tokenizer.model_input_names
        and "token_type_ids" in inspect.signature(model.forward).parameters
    )


def max_tokens(config: Any, tokenizer_limit: int) -> int:
    """The longest input: what the tokenizer says, or the position table if that is smaller.

    RoBERTa and its kin count positions from `pad_token_id + 1`, so two of their 514 are never reached.
    """
    positions: int = getattr(config, "max_position_embeddings", tokenizer_limit)
    try:
        if config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= config.pad_token_id + 1
        limit = min(positions, tokenizer_limit)
    except TypeError:
        limit = 0
    if not isinstance(limit, int) or limit < _SHORTEST:
        raise ExportError(
            f"max_position_embeddings ({positions!r:.40}) in config.json and model_max_length "
            f"({tokenizer_limit!r:.40}) in tokenizer_config.json do not say how long an input this model takes; "
            "correct them"
        )
    return limit


def _torch_model(checkpoint: Checkpoint) -> Any:
    import torch
    from transformers import AutoModelForQuestionAnswering

    try:
        model, report = AutoModelForQuestionAnswering.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            # A pickle may run code; this reads tensors and nothing else.
            weights_only=True,
        )
    except Exception as error:  # whatever torch, safetensors and transformers make of a broken folder
        raise ExportError(f"{checkpoint.name}: its weights cannot be loaded: {first_line(error)}; {AGAIN}") from error
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:4])
        raise ExportError(
            f"{checkpoint.name}: the weights lack {missing}; use a checkpoint trained for question answering"
        )
    # A head for another task is often there too; a layer that config.json does not count would be left out unseen.
    layers = {match[0] for match in map(_LAYER.match, report["unexpected_keys"]) if match}
    if layers := layers - {match[0] for match in map(_LAYER.match, model.state_dict()) if match}:
        raise ExportError(
            f"{checkpoint.name}: the weights have layers that config.json does not count, such as "
            f"{min(layers)}*; correct the number of layers there"
        )
    return model.eval()


def _check_tokenizer(checkpoint: Checkpoint, tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise ExportError(
            f"{checkpoint.name}: its tokenizer has no fast form, which the runtime needs; use a checkpoint that has one"
        )
    if tokenizer.padding_side != "right":
        raise ExportError(
            f"{checkpoint.name}: its tokenizer pads on the left, so it puts the context before the question, which the "
            "runtime does not do; use a checkpoint whose tokenizer pads on the right"
        )


def _check_embeddings(checkpoint: Checkpoint, tokenizer: Any, model: Any) -> None:
    """A token beyond the embedding table would fail at run time, on the rows that hold it."""
    table = model.get_input_embeddings().num_embeddings
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= table)
    if beyond:
        number, token = beyond[0]
        raise ExportError(
            f"{checkpoint.name}: its tokenizer has {len(beyond)} tokens beyond the model's {table} embeddings, the "
            f"first is {token!r} with id {number}; remove them from the tokenizer, or train the model after "
            "model.resize_token_embeddings(len(tokenizer))"
        )


def _check_added_tokens(checkpoint: Checkpoint, tokenizer: Any) -> None:
    """Of what the normalizer leaves nothing of, the library finds one before each letter, and panics beyond ASCII."""
    for number, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        normal = tokenizer.normalizer.normalize_str(token.content) if tokenizer.normalizer else token.content
        if token.normalized and not normal:
            raise ExportError(
                f"{checkpoint.name}: its tokenizer's normalizer leaves nothing of the added token {token.content!r} "
                f"with id {number}, so that no text can be cut into tokens; remove the token from added_tokens in "
                'tokenizer.json, or set its "normalized" to false there and in tokenizer_config.json'
            )


def first_line(error: Exception) -> str:
    """What the error says, without the paragraphs that some libraries add."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _export(model: Any, folder: Path) -> None:
    from optimum.exporters.onnx import onnx_export_from_model

    try:
        onnx_export_from_model(model, folder, task="question-answering", do_validation=False)
    except OSError:
        raise
    except Exception as error:  # optimum and torch's tracer raise what they like
        raise ExportError(
            f"a {model.config.model_type} model cannot be converted to ONNX: {first_line(error)}; use a checkpoint of "
            "another architecture"
        ) from error
    if not (folder / MODEL).is_file():
        raise ExportError(
            f"optimum converts a {model.config.model_type} model to several files, not to one {MODEL}; use a "
            "checkpoint of another architecture"
        )
