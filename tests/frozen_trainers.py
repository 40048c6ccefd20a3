"""Trainers of small models with frozen layers, and the plain way that they are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers as hf

import fastft
from fastft.data.ragged_column import RaggedColumn
from fastft.modeling.freeze import choose_trainable
from fastft.modeling.structure import layer_lists
from tests.parity.recording import arguments
from tests.tiny import tiny_tokenizer

VOCABULARY = 60
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": 3,
}
_GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 3,
    "pad_token_id": 0,
}
_T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
_BART: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "dropout": 0.0,
    "max_position_embeddings": 64,
}
_DISTIL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 2,
    "hidden_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": 3,
}
_LLAMA = {**_SIZES, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
_MODERN = {**_SIZES, "cls_token_id": 3, "sep_token_id": 4, "bos_token_id": 3, "eos_token_id": 4}

MODELS: dict[str, Any] = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**_SIZES)),
    "roberta": lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**_SIZES)),
    "electra": lambda: hf.ElectraForSequenceClassification(hf.ElectraConfig(**_SIZES)),
    "distilbert": lambda: hf.DistilBertForSequenceClassification(hf.DistilBertConfig(**_DISTIL)),
    "modernbert": lambda: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**_MODERN, attn_implementation="sdpa", classifier_pooling="cls")
    ),
    "modernbert-mean": lambda: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**_MODERN, attn_implementation="sdpa", classifier_pooling="mean")
    ),
    "gpt2": lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**_GPT2)),
    "llama": lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**_LLAMA)),
    "bert-tokens": lambda: hf.BertForTokenClassification(hf.BertConfig(**_SIZES)),
    "bert-qa": lambda: hf.BertForQuestionAnswering(hf.BertConfig(**{**_SIZES, "num_labels": 2})),
    "albert": lambda: hf.AlbertForSequenceClassification(
        hf.AlbertConfig(**_SIZES, embedding_size=16)
    ),
    "gpt2-lm": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**_GPT2)),
    "llama-lm": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_LLAMA)),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**_T5)),
    "bart-whole": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**_BART)),
    "bart": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**_BART)),
}
"""Name to what builds the model: two or three layers, with the dropout of its family."""

LANGUAGE, TARGETS = ("gpt2-lm", "llama-lm"), ("t5", "bart", "bart-whole")


def build(name: str, train: str, seed: int = 0) -> Any:
    """Builds a model whose weights are told apart, and freezes what is not trained."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.15)
    choose_trainable(model, train, [])
    if name == "bart-whole":  # a weight that stands before the frozen layers
        model.model.decoder.layernorm_embedding.requires_grad_(True)
    return model


def tokens(name: str, rows: int = 40, seed: int = 0) -> fastft.TokenDataset:
    """Rows of 1 to 14 random tokens, some of which end like padding, with labels for a model."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 15, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    ids = random.integers(5, VOCABULARY, offsets[-1]).astype(np.uint16)
    ids[offsets[1::4].astype(int) - 1] = 0  # the pad token, as a token
    columns: dict[str, Any] = {"labels": random.integers(0, 3, rows)}
    if name == "bert-tokens" or name in LANGUAGE:
        columns = {"labels": RaggedColumn.from_rows([random.integers(0, 3, n) for n in lengths])}
    if name in TARGETS:
        made = [random.integers(5, VOCABULARY, random.integers(1, 9)) for _ in lengths]
        columns = {"labels": RaggedColumn.from_rows(made)}
    if name == "bert-qa":
        columns = {"start_positions": lengths - 1, "end_positions": lengths - 1}
    return fastft.TokenDataset(ids, offsets, columns=columns, vocab_size=VOCABULARY)


def collator(name: str) -> Any:
    """What makes the batches of a model."""
    if name in TARGETS:
        return fastft.DataCollatorForSeq2Seq(tiny_tokenizer())
    if name in LANGUAGE or name == "bert-tokens":
        return fastft.DataCollatorForTokenClassification(tiny_tokenizer())
    return fastft.DataCollatorWithPadding(tiny_tokenizer())


class Recorded(fastft.Trainer):
    """A Trainer that keeps the loss of every step, and how wide its batches were."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.losses: list[float] = []
        self.widths: list[int] = []
        self.carried: list[bool] = []
        super().__init__(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.widths.append(inputs["input_ids"].shape[1])
        self.carried.append(any(name.startswith("frozen_") for name in inputs))
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.losses.append(loss.item())
        return loss


class Reference(Recorded):
    """Runs the frozen layers in every step, without their dropout."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        for name, module in model.named_modules():
            weights = list(module.parameters())
            # The embeddings and the frozen layers whole; GPT-2 has dropout beside them.
            if name == "transformer.drop" or (
                weights and not any(one.requires_grad for one in weights)
            ):
                module.eval()
        return super().compute_loss(model, inputs, *args, **kwargs)


def trainer(
    folder: Any,
    name: str,
    train: str,
    cache: str = "auto",
    *,
    kind: type[Recorded] = Recorded,
    model: Any = None,
    rows: int = 40,
    evaluates: bool = False,
    **options: Any,
) -> Recorded:
    """Builds a Trainer of a small model on random rows."""
    more = {
        key: options.pop(key)
        for key in ("compute_metrics", "callbacks", "fuse_head")
        if key in options
    }
    settings = {"per_device_train_batch_size": 4, "learning_rate": 2e-3, **options}
    return kind(
        build(name, train) if model is None else model,
        arguments(fastft.TrainingArguments, folder, **{"num_train_epochs": 2, **settings}),
        train_dataset=tokens(name, rows),
        eval_dataset=tokens(name, 14, seed=1) if evaluates else None,
        data_collator=collator(name),
        frozen_cache=cache,
        **more,
    )


def reference(folder: Any, name: str, train: str, **options: Any) -> Recorded:
    """The same, with the frozen layers run in every step without dropout."""
    return trainer(folder, name, train, "off", kind=Reference, **options)


def num_layers(model: Any) -> int:
    """The layers of the last stack of a model."""
    return len(list(layer_lists(model).values())[-1])
