"""Chat templates in the forms that models publish, and a small decoder to train with them."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fastft.bench.rows.chat import TEMPLATE
from fastft.tasks.built_in_templates import TEMPLATES

# The older form of ChatML with the marks that say what the assistant writes.
CHATML_MARKED = (
    TEMPLATE
    + """
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
)

# Qwen3: replies before the last question lose what was thought, the last one always has it.
THINKING = """\
{%- set ns = namespace(last=0) %}
{%- for message in messages %}
{%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > ns.last %}
{{- '<think>\\n' + (message.reasoning_content or '') + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

SPECIAL_TOKENS = (
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
# What ends a turn in each built-in template, as the model writes it.
TURN_ENDS = {
    "alpaca": "</s>",
    "chatml": "<|im_end|>",
    "llama-2": " </s>",
    "llama-3": "<|eot_id|>",
    "plain": "</s>",
}


def byte_tokenizer(
    chat_template: str | None = None, merges: tuple[tuple[str, str], ...] = ()
) -> PreTrainedTokenizerFast:
    """A tokenizer over bytes, which loses nothing; pad is the end token, as in many decoders."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    joined = [left + right for left, right in merges]
    vocab = {piece: index for index, piece in enumerate([*letters, *joined])}
    backend = Tokenizer(models.BPE(vocab, list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    hf.chat_template = TEMPLATES.get(chat_template or "", chat_template)
    return hf


def tiny_llama(vocab_size: int, seed: int = 0, **overrides: Any) -> LlamaForCausalLM:
    """A random Llama of two layers, 32 wide."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **overrides}))
