"""Small language models with tokenizers of the kinds that matter, built in a second."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tests.tiny import WORDS, tiny_config, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

END = "<|endoftext|>"
# The byte 0, which is in no text: a pad token that hides nothing from transformers' collator.
UNUSED = "\u0100"


def story(num_lines: int, seed: int = 0, longest: int = 12) -> str:
    """Makes lines of words with commas, indents and blank lines."""
    rng = random.Random(seed)
    lines = []
    for _ in range(num_lines):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, longest))]
        indent = rng.choice(("", "", "  "))
        lines.append(indent + ", ".join(words) + rng.choice((".", " .", "\n", "")))
    return "\n".join(lines) + "\n"


def stories(number: int, seed: int = 0) -> list[str]:
    """Makes texts of 1 to 6 lines."""
    rng = random.Random(seed)
    return [story(rng.randint(1, 6), seed=rng.randrange(10**6)) for _ in range(number)]


@cache
def _gpt2_backend() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([story(300)], trainer)
    return backend.to_str()


def gpt2_tokenizer(*, pad: str | None = END) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer as GPT-2's: nothing around a text, and the end token pads."""
    backend = Tokenizer.from_str(_gpt2_backend())
    backend.add_special_tokens([AddedToken(END, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=pad,
        model_input_names=["input_ids", "attention_mask"],
    )


def llama_tokenizer(*, pad: str = "</s>") -> PreTrainedTokenizerFast:
    """A tokenizer that puts <s> in front of a text; its end </s> pads."""
    backend = Tokenizer.from_str(_gpt2_backend())
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("<s>", "</s>")])
    start = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", start)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token=pad,
        model_input_names=["input_ids", "attention_mask"],
    )


def tiny_gpt2(seed: int = 0, **overrides: Any) -> GPT2LMHeadModel:
    """A random GPT-2 of two layers, 32 wide, without dropout."""
    hf = gpt2_tokenizer()
    settings = {
        "vocab_size": len(hf),
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": hf.bos_token_id,
        "eos_token_id": hf.eos_token_id,
    }
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(**{**settings, **overrides}))


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of two layers, 32 wide."""
    hf = llama_tokenizer()
    config = LlamaConfig(
        vocab_size=len(hf),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=hf.bos_token_id,
        eos_token_id=hf.eos_token_id,
        pad_token_id=hf.pad_token_id,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def tiny_bert_mlm(seed: int = 0) -> BertForMaskedLM:
    """A random BERT of two layers, 32 wide, without dropout."""
    torch.manual_seed(seed)
    return BertForMaskedLM(tiny_config())


def save_tiny_gpt2(folder: Path) -> Path:
    """Saves the model with its tokenizer, which has no pad token, as GPT-2's."""
    tiny_gpt2().save_pretrained(folder)
    gpt2_tokenizer(pad=None).save_pretrained(folder)
    return folder


def save_tiny_mlm(folder: Path) -> Path:
    """Saves a BERT with its head and tokenizer."""
    tiny_bert_mlm().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
