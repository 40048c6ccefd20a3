"""A small T5 with its tokenizer, and pairs of texts to learn, built in a second."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from tests.tiny import WORDS

if TYPE_CHECKING:
    from pathlib import Path

UPPER = tuple(word.upper() for word in WORDS)
SPECIAL = ("<pad>", "</s>", "<unk>")


def t5_tokenizer(*, ends_texts: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of words that puts </s> behind every text, as T5's does."""
    vocab = {word: index for index, word in enumerate([*SPECIAL, *WORDS, *UPPER, ":"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends_texts:
        backend.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )


def t5_config(**overrides: object) -> T5Config:
    """A T5 of two layers on each side, 32 wide, without dropout."""
    settings: dict[str, object] = {
        "vocab_size": len(SPECIAL) + 2 * len(WORDS) + 1,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    }
    return T5Config(**{**settings, **overrides})


def tiny_t5(seed: int = 0, **overrides: object) -> T5ForConditionalGeneration:
    """A random model, the same for the same seed."""
    torch.manual_seed(seed)
    return T5ForConditionalGeneration(t5_config(**overrides))


def save_tiny_t5(folder: Path) -> Path:
    """Saves the model with its tokenizer."""
    tiny_t5().save_pretrained(folder)
    t5_tokenizer().save_pretrained(folder)
    return folder


def shouts(number: int, seed: int = 0, longest: int = 8) -> list[tuple[str, str]]:
    """Makes pairs of texts: 1 to `longest` words, and the same words in capitals."""
    rng = random.Random(seed)
    rows = [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(number)]
    return [(text, text.upper()) for text in rows]
