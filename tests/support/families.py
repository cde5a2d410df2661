"""Tiny random checkpoints of every supported family, with tokenizers trained on the samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, SentencePieceUnigramTokenizer, Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.processors import RobertaProcessing, TemplateProcessing

from tests.conftest import SAMPLES

VOCABULARY = 600
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 200,
}


def _corpus() -> list[str]:
    return [path.read_text("utf-8") for path in sorted(SAMPLES.glob("*.csv"))]


def _wordpiece(name: str) -> Any:
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(_corpus(), vocab_size=VOCABULARY, show_progress=False)
    return _wrap(name, trained._tokenizer)


def _bytes(name: str) -> Any:
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(_corpus(), vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    return _wrap(name, trained._tokenizer)


def _unigram(name: str) -> Any:
    trained = SentencePieceUnigramTokenizer()
    bert = name.startswith(("Albert", "Deberta"))
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"] if bert else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(
        _corpus(), vocab_size=VOCABULARY, special_tokens=special, unk_token=special[3], show_progress=False
    )
    return _wrap(name, trained._tokenizer)


def _wrap(name: str, tokenizer: Tokenizer) -> Any:
    """The family's own fast tokenizer around a trained one, with the special tokens that it has around a pair."""
    # A tokenizer that is given as an object keeps its own template, and a trained one has none.
    is_bert = tokenizer.token_to_id("[CLS]") is not None
    first, last = (
        (token, tokenizer.token_to_id(token)) for token in (("[CLS]", "[SEP]") if is_bert else ("<s>", "</s>"))
    )
    if is_bert:
        pair = f"{first[0]} $A {last[0]} $B:1 {last[0]}:1"
        template = TemplateProcessing(single=f"{first[0]} $A {last[0]}", pair=pair, special_tokens=[first, last])
        tokenizer.post_processor = template
    else:
        tokenizer.post_processor = RobertaProcessing(last, first, trim_offsets=False, add_prefix_space=False)
    return getattr(transformers, name)(tokenizer_object=tokenizer, model_max_length=200)


# Family -> (configuration, its own settings, tokenizer).
FAMILIES: dict[str, tuple[str, dict[str, Any], Callable[[], Any]]] = {
    "distilbert": (
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
        lambda: _wordpiece("DistilBertTokenizerFast"),
    ),
    "bert": ("BertConfig", {}, lambda: _wordpiece("BertTokenizerFast")),
    "roberta": ("RobertaConfig", {"type_vocab_size": 1}, lambda: _bytes("RobertaTokenizerFast")),
    "electra": ("ElectraConfig", {"embedding_size": 16}, lambda: _wordpiece("ElectraTokenizerFast")),
    "albert": ("AlbertConfig", {"embedding_size": 16}, lambda: _unigram("AlbertTokenizerFast")),
    "xlm-roberta": ("XLMRobertaConfig", {"type_vocab_size": 1}, lambda: _unigram("XLMRobertaTokenizerFast")),
    "camembert": ("CamembertConfig", {"type_vocab_size": 1}, lambda: _unigram("CamembertTokenizerFast")),
    "deberta-v2": (
        "DebertaV2Config",
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32, "share_att_key": True},
        lambda: _unigram("DebertaV2TokenizerFast"),
    ),
    "mobilebert": (
        "MobileBertConfig",
        {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1},
        lambda: _wordpiece("MobileBertTokenizerFast"),
    ),
}


def write_checkpoint(family: str, folder: Path) -> Path:
    """A random checkpoint whose logits differ enough from token to token that rounding decides nothing."""
    name, settings, make_tokenizer = FAMILIES[family]
    tokenizer = make_tokenizer()
    ids = {key: getattr(tokenizer, f"{key}_id") for key in ("pad_token", "bos_token", "eos_token")}
    config = getattr(transformers, name)(
        **{**SIZES, "vocab_size": len(tokenizer), **{f"{k}_id": v for k, v in ids.items() if v is not None}, **settings}
    )
    torch.manual_seed(11)
    model = transformers.AutoModelForQuestionAnswering.from_config(config)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
        model.qa_outputs.weight.mul_(20)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
