"""Small models and data that tests build for themselves, in a second, without any network."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from pathlib import Path

WORDS = (
    "the a film book plot was is not very good bad fine poor great awful dull bright slow fast "
    "and but i we you like hate love music scene end start actor line day night"
).split()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOOD, BAD = ("good", "fine", "great", "bright", "love"), ("bad", "poor", "awful", "dull", "hate")


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A BERT tokenizer over a few dozen words."""
    vocab = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_config(**overrides: object) -> BertConfig:
    """A BERT of two layers, 32 wide, without dropout."""
    settings: dict[str, object] = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 0,
    }
    return BertConfig(**{**settings, **overrides})


def tiny_model(seed: int = 0, **overrides: object) -> BertForSequenceClassification:
    """A random model, the same for the same seed."""
    torch.manual_seed(seed)
    return BertForSequenceClassification(tiny_config(**overrides))


def save_tiny_bert(folder: Path) -> Path:
    """Saves body and tokenizer, so that a head is new when the folder is loaded."""
    torch.manual_seed(0)
    from transformers import BertModel

    BertModel(tiny_config()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def sentences(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Makes sentences of 1 to 20 words, labelled by the one telling word in them."""
    rng = random.Random(seed)
    rows = []
    for _ in range(number):
        label = rng.choice(("negative", "positive"))
        words = [rng.choice(WORDS[:6]) for _ in range(rng.randint(0, 19))]
        words.insert(rng.randint(0, len(words)), rng.choice(GOOD if label == "positive" else BAD))
        rows.append((" ".join(words), label))
    return rows
