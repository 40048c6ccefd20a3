"""Masked LM under fastft.Trainer against the stock Trainer and the exact mean.

Masks are drawn in different ways, so the reference is handed those of our collator.
"""

from __future__ import annotations

import numpy as np
import torch
import transformers

import fastft
from fastft.data.readers import ReadOptions
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.tasks.masked_lm import MaskedLM
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny import sentences, tiny_tokenizer
from tests.tiny_lm import tiny_bert_mlm

LEARNING_RATE = 1e-3
TEXTS = [text for text, _ in sentences(80)]
HF = tiny_tokenizer()


class MaskedTrainer(FastTrainer):
    """Keeps every micro-batch as the collator made it."""

    def training_step(self, model, inputs, *args, **kwargs):
        self.kept = [*getattr(self, "kept", []), {name: inputs[name].clone() for name in inputs}]
        return super().training_step(model, inputs, *args, **kwargs)


def fast_run(folder, **overrides):
    source = open_source(TEXTS, ReadOptions(documents="auto"))
    task = MaskedLM.from_source(source, {"text": None, **MaskedLM.options})
    model = tiny_bert_mlm()
    trainer = MaskedTrainer(
        model,
        arguments(fastft.TrainingArguments, folder, **overrides),
        train_dataset=task.data(source.splits["train"], Tokenizer.from_hf(HF), 64).dataset,
        data_collator=task.collator(HF, model),
        processing_class=HF,
    )
    trainer.train()
    return trainer


def exact_losses(model, steps):
    """Trains on the same micro-batches with nothing but torch; the loss is summed in fp64."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    losses = []
    for done, batches in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - done / len(steps))
        optimizer.zero_grad()
        count = sum(int((batch["labels"] != -100).sum()) for batch in batches)
        total = 0.0
        for batch in batches:
            labels = batch["labels"]
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            total += torch.nn.functional.cross_entropy(
                logits.logits.double().flatten(0, 1), labels.flatten(), reduction="sum"
            )
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(total.detach()) / count)
    return losses


def test_30_steps_with_accumulation_are_the_exact_means(tmp_path):
    split = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    fast = fast_run(tmp_path, num_train_epochs=6, **split)
    steps = [fast.kept[start : start + 2] for start in range(0, 60, 2)]
    counts = {int((batch["labels"] != -100).sum()) for batch in fast.kept}
    assert len(counts) > 5  # the micro-batches differ in what is hidden
    np.testing.assert_allclose(fast.losses, exact_losses(tiny_bert_mlm(), steps), rtol=1e-5)


def test_with_the_masks_handed_over_the_stock_trainer_has_the_same_losses(tmp_path):
    fast = fast_run(tmp_path, per_device_train_batch_size=16, num_train_epochs=6)
    batches = iter(fast.kept)

    def handed_over(features):
        return dict(next(batches))

    stock = StockTrainer(
        tiny_bert_mlm(),
        arguments(transformers.TrainingArguments, tmp_path, num_train_epochs=6),
        train_dataset=[{"input_ids": [0], "labels": [0]}] * len(TEXTS),
        data_collator=handed_over,
        processing_class=HF,
    )
    stock.train()
    assert len(fast.losses) == 30
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


def test_every_epoch_hides_other_tokens(tmp_path):
    fast = fast_run(tmp_path, per_device_train_batch_size=80, num_train_epochs=2)
    first, second = ({tuple(row) for row in batch["labels"].tolist()} for batch in fast.kept)
    assert len(first & second) < len(TEXTS) / 2
