"""A small model of each architecture that a fused head is tried on, without dropout."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

VOCABULARY = 101
_DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}
_BART = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "dropout": 0.0,
    "max_position_embeddings": 64,
}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
_DISTIL = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def _gpt2() -> Any:
    no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=VOCABULARY, **_GPT2, **no_dropout))


def _modern_bert() -> Any:
    settings = {**_ENCODER, "cls_token_id": 3, "sep_token_id": 4, "bos_token_id": 3}
    settings.pop("hidden_dropout_prob"), settings.pop("attention_probs_dropout_prob")
    return hf.ModernBertForMaskedLM(
        hf.ModernBertConfig(**settings, eos_token_id=4, attn_implementation="sdpa")
    )


MODELS: dict[str, Any] = {
    "gpt2": _gpt2,
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_DECODER)),
    "llama-tied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_DECODER, tie_word_embeddings=True)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**_DECODER)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**_DECODER, head_dim=16, final_logit_softcapping=3.0)
    ),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**_DECODER)),
    "phi": lambda: hf.PhiForCausalLM(
        hf.PhiConfig(**_DECODER, resid_pdrop=0.0, embd_pdrop=0.0, attention_dropout=0.0)
    ),
    "cohere": lambda: hf.CohereForCausalLM(hf.CohereConfig(**_DECODER)),
    "granite": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**_DECODER, logits_scaling=8.0)),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**_T5)),
    "bart": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**_BART)),
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**_ENCODER)),
    "bert-untied": lambda: hf.BertForMaskedLM(hf.BertConfig(**_ENCODER, tie_word_embeddings=False)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**_ENCODER)),
    "distilbert": lambda: hf.DistilBertForMaskedLM(hf.DistilBertConfig(**_DISTIL)),
    "modernbert": _modern_bert,
}
"""Name to what builds the model; two or three layers, 101 tokens."""

ENCODERS = ("bert", "bert-untied", "roberta", "distilbert", "modernbert")


def build(name: str, seed: int = 0) -> Any:
    """Builds a model with the weights of a seed, in training mode."""
    torch.manual_seed(seed)
    model = MODELS[name]().train()
    if name == "bart":
        model.final_logits_bias.normal_()
    return model


def batch(rows: int = 3, width: int = 12, seed: int = 1) -> dict[str, torch.Tensor]:
    """Token ids and labels of which about a third does not count, one row of them shorter."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY - 1, (rows, width), generator=generator)
    labels = ids.clone()
    labels[torch.rand(rows, width, generator=generator) < 0.3] = -100
    mask = torch.ones_like(ids)
    ids[-1, -3:], labels[-1, -3:], mask[-1, -3:] = 0, -100, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The gradients that are there, by name."""
    return {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }


def assert_same_gradients(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 2e-5
) -> None:
    """Compares gradients, each by the largest of its own entries.

    That of the bias of keys is zero, since a softmax does not see it: what is there is rounding, of
    the size of the other gradients' last place.
    """
    assert found.keys() == expected.keys()
    largest = max((value.abs().max().item() for value in expected.values()), default=0.0)
    for name, value in expected.items():
        is_rounding = name.endswith((".key.bias", ".k_proj.bias"))
        scale = (largest / 100 if is_rounding else value.abs().max().item()) + 1e-6
        assert (found[name] - value).abs().max().item() <= tolerance * scale, name
