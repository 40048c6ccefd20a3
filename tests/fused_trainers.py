"""Trainers of small models on random token rows, recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fastft
from tests.fused_models import VOCABULARY, build
from tests.parity.recording import FastTrainer, arguments
from tests.tiny import tiny_tokenizer

if TYPE_CHECKING:
    import torch


def rows(number: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """Rows of 3 to 12 tokens, about a third of whose labels do not count."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        ids = generator.integers(5, VOCABULARY - 1, generator.integers(3, 13)).tolist()
        labels = [one if generator.random() < 0.7 else -100 for one in ids]
        made.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return made


def lm_trainer(
    folder: Any, epochs: int = 1, name: str = "llama", fuse_head: Any = True, **options: Any
) -> FastTrainer:
    """Builds a Trainer on rows that are dicts, 24 for training and 10 for evaluation."""
    more = {
        key: options.pop(key)
        for key in ("compute_metrics", "model_init", "data_collator", "padding_free")
        if key in options
    }
    model = options.pop("model", None)
    if model is None and "model_init" not in more:
        model = build(name)
    if "data_collator" not in more:
        more["data_collator"] = fastft.DataCollatorForTokenClassification(tiny_tokenizer())
    settings = {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 4, **options}
    return FastTrainer(
        model,
        arguments(fastft.TrainingArguments, folder, num_train_epochs=epochs, **settings),
        train_dataset=rows(24),
        eval_dataset=rows(10, seed=1),
        fuse_head=fuse_head,
        **more,
    )


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    """The weights of its model."""
    return {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
