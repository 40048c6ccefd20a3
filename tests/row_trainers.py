"""Trainers of a small classifier whose vocabulary is large beside its batches, recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

import fastft
from tests.parity.recording import FastTrainer, arguments
from tests.tiny import tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY, WIDTH = 5000, 24


def classifier(**settings: Any) -> transformers.PreTrainedModel:
    """A BERT of two layers without dropout."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    for name, value in settings.items():
        setattr(config, name, value)
    return transformers.BertForSequenceClassification(config)


def rows(number: int, seed: int = 0, width: int = 12) -> list[dict[str, Any]]:
    """Rows of 3 to `width` tokens; half of the tokens are among the first forty."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        length = int(generator.integers(3, width + 1))
        common = generator.random(length) < 0.5
        ids = np.where(
            common, generator.integers(5, 45, length), generator.integers(45, VOCABULARY, length)
        )
        label = int(generator.integers(2))
        made.append({"input_ids": ids.tolist(), "attention_mask": [1] * length, "labels": label})
    return made


def trainer(folder: Path, model: Any = None, *, cls: Any = FastTrainer, **options: Any) -> Any:
    """A Trainer of 20 steps of four rows; arguments of `TrainingArguments` are in `training`."""
    training = {"max_steps": 20, "per_device_train_batch_size": 4, "learning_rate": 1e-3}
    training |= options.pop("training", {})
    return cls(
        classifier() if model is None else model,
        arguments(fastft.TrainingArguments, folder, **training),
        train_dataset=options.pop("train_dataset", rows(48)),
        data_collator=fastft.DataCollatorWithPadding(tiny_tokenizer()),
        **options,
    )
