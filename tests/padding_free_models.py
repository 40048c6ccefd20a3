"""Small models of every family that runs padding-free, and batches with every kind of padding."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import (
    AlbertConfig,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
)

VOCABULARY = 50
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}


def config(family: str) -> Any:
    """A configuration of three small layers."""
    single, grouped = ({**_SIZES, "num_key_value_heads": heads} for heads in (2, 1))
    made: Any = {
        "bert": lambda: BertConfig(**_SIZES),
        "roberta": lambda: RobertaConfig(**{**_SIZES, "max_position_embeddings": 80}),
        "xlm-roberta": lambda: XLMRobertaConfig(**{**_SIZES, "max_position_embeddings": 80}),
        "camembert": lambda: CamembertConfig(**{**_SIZES, "max_position_embeddings": 80}),
        "electra": lambda: ElectraConfig(**_SIZES, embedding_size=16),
        "albert": lambda: AlbertConfig(**_SIZES, embedding_size=16),
        "distilbert": lambda: DistilBertConfig(
            vocab_size=VOCABULARY, dim=32, n_layers=3, n_heads=2, hidden_dim=64, pad_token_id=0
        ),
        # A window of four tokens to each side, shorter than the rows.
        "modernbert": lambda: ModernBertConfig(**_SIZES, **_SPECIAL, local_attention=8),
        "gpt2": lambda: GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=2, n_positions=64, pad_token_id=0
        ),
        "llama": lambda: LlamaConfig(**single),
        "mistral": lambda: MistralConfig(**grouped, sliding_window=5),
        "qwen2": lambda: Qwen2Config(**single, use_sliding_window=True, sliding_window=5),
        "qwen3": lambda: Qwen3Config(**grouped, head_dim=16),
        "t5": lambda: T5Config(
            vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_layers=3, num_heads=2
        ),
    }[family]()
    made.num_labels = 3
    made.decoder_start_token_id = 0
    return made


ENCODERS = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "albert"),
    *("distilbert", "modernbert"),
)
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
MODELS = [
    *((name, head) for name in ENCODERS for head in ("sequence", "tokens", "masked", "bare")),
    *((name, head) for name in DECODERS for head in ("sequence", "tokens", "causal", "bare")),
    ("t5", "seq2seq"),
    ("t5", "tokens"),
    ("t5", "encoder"),
]
"""Every family with every head."""

_HEADS = {
    "sequence": "ForSequenceClassification",
    "tokens": "ForTokenClassification",
    "masked": "ForMaskedLM",
    "causal": "ForCausalLM",
    "seq2seq": "ForSeq2SeqLM",
    "questions": "ForQuestionAnswering",
    "bare": "",
}


def model(family: str, head: str, *, dropout: float = 0.0, **settings: Any) -> Any:
    """A model with large random weights, in training mode."""
    torch.manual_seed(0)
    configuration = config(family)
    for name, value in settings.items():
        setattr(configuration, name, value)
    if head == "encoder":
        made = transformers.T5EncoderModel(configuration)
    else:
        made = getattr(transformers, f"AutoModel{_HEADS[head]}").from_config(configuration)
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    set_dropout(made, dropout)
    return made.train()


def set_dropout(made: torch.nn.Module, dropout: float) -> None:
    """Sets every dropout of a model: the layers', and those that attention reads as a number."""
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        for name in ("attention_dropout", "dropout_prob", "attn_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, dropout)


def batch(lengths: list[int], head: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of random tokens, padded on the right, with the labels of a head."""
    generator = torch.Generator().manual_seed(seed)
    num_rows, width = len(lengths), max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.randint(3, VOCABULARY, (num_rows, width), generator=generator) * mask
    given = {"input_ids": tokens, "attention_mask": mask}
    if head == "sequence":
        given["labels"] = torch.randint(0, 3, (num_rows,), generator=generator)
    elif head == "tokens":
        labels = torch.randint(0, 3, tokens.shape, generator=generator)
        given["labels"] = labels.masked_fill(mask == 0, -100)
    elif head in ("masked", "causal"):
        given["labels"] = tokens.masked_fill(mask == 0, -100)
    elif head == "seq2seq":
        targets = batch([max(1, length // 2) for length in reversed(lengths)], "bare", seed=seed)
        given["labels"] = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
    return given
