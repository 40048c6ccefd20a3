"""Causal LM under fastft.Trainer: the exact mean for GPT-2, the stock Trainer's losses for Llama.

transformers 5.23 counts the unshifted labels of GPT-2, so its loss is too small by the share of
first tokens; ours is held against the model's own forward, summed in fp64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

import fastft
from fastft.data.readers import ReadOptions
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.tasks.causal_lm import CausalLM
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny_lm import UNUSED, gpt2_tokenizer, llama_tokenizer, story, tiny_gpt2, tiny_llama

LEARNING_RATE = 1e-3
# 40 ragged rows: 5 steps an epoch of 2 x 4 rows, 30 steps in 6 epochs.
TEXTS = [story(1, seed=number) for number in range(40)]
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 6}
MODELS = {"gpt2": (tiny_gpt2, gpt2_tokenizer), "llama": (tiny_llama, llama_tokenizer)}


def fast_run(kind, folder, callbacks=(), pad=None, **overrides):
    build, tokenizer_of = MODELS[kind]
    hf = tokenizer_of() if pad is None else tokenizer_of(pad=pad)
    source = open_source(TEXTS, ReadOptions(documents="auto"))
    options = {"text": None, **CausalLM.options, "join_documents": False}
    task = CausalLM.from_source(source, options)
    dataset = task.data(source.splits["train"], Tokenizer.from_hf(hf), 64).dataset
    assert len(dataset) == len(TEXTS)
    model = build()
    trainer = FastTrainer(
        model,
        arguments(fastft.TrainingArguments, folder, **overrides),
        train_dataset=dataset,
        data_collator=task.collator(hf, model),
        processing_class=hf,
        callbacks=list(callbacks),
    )
    trainer.train()
    return trainer


def stock_run(kind, folder, **overrides):
    build, tokenizer_of = MODELS[kind]
    hf = tokenizer_of(pad=UNUSED)
    framed = [hf(text)["input_ids"] + [hf.eos_token_id] for text in TEXTS]
    trainer = StockTrainer(
        build(),
        arguments(transformers.TrainingArguments, folder, **overrides),
        train_dataset=[{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in framed],
        data_collator=transformers.DataCollatorForLanguageModeling(hf, mlm=False),
        processing_class=hf,
    )
    trainer.train()
    return trainer


def sum_of_losses(model, ids):
    """The loss of every token but the first of a row, summed in fp64."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    labels = torch.tensor(ids[1:])
    return torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum")


def exact_losses(model, steps):
    """Trains on the same rows with nothing but torch: AdamW, clipping, a linear schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    losses = []
    for done, rows in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - done / len(steps))
        optimizer.zero_grad()
        count = sum(len(ids) - 1 for ids in rows)
        total = sum(sum_of_losses(model, ids) for ids in rows) / count
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(total.detach()))
    return losses


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_30_steps_with_accumulation_and_ragged_rows_are_the_exact_means(kind, tmp_path):
    fast = fast_run(kind, tmp_path, **SPLIT)
    steps = [fast.batches[start] + fast.batches[start + 1] for start in range(0, 60, 2)]
    # The end token pads here, and is learnt all the same.
    end = MODELS[kind][1]().eos_token_id
    assert all(ids[-1] == end for rows in steps for ids in rows)
    np.testing.assert_allclose(fast.losses, exact_losses(MODELS[kind][0](), steps), rtol=1e-5)


def test_llama_has_the_batches_and_losses_of_the_stock_trainer(tmp_path):
    options = {"per_device_train_batch_size": 8, "num_train_epochs": 6}
    fast = fast_run("llama", tmp_path, pad=UNUSED, **options)
    stock = stock_run("llama", tmp_path, **options)
    assert fast.batches == stock.batches
    assert len(fast.losses) == 30
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


def test_the_stock_trainer_scales_the_loss_of_gpt2_by_its_first_tokens(tmp_path):
    """Pins a fault of transformers 5.23: when this fails, it has been repaired there."""
    options = {"per_device_train_batch_size": 8, "max_steps": 1}
    stock = stock_run("gpt2", tmp_path, **options)
    fast = fast_run("gpt2", tmp_path, pad=UNUSED, **options)
    (rows,) = fast.batches
    assert stock.batches == fast.batches
    tokens = sum(map(len, rows))
    factor = (tokens - len(rows)) / tokens
    assert stock.losses[0] / fast.losses[0] == pytest.approx(factor, rel=1e-5)


class KeepGradients(transformers.TrainerCallback):
    """Keeps the gradients of the step."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_gradient_of_every_split_of_a_step_is_that_of_the_whole(kind, tmp_path):
    for size in (16, 8, 4, 1):
        keep = KeepGradients()
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 16 // size}
        options = {"max_steps": 1, "max_grad_norm": 0.0, **split}
        fast = fast_run(kind, tmp_path, [keep], **options)
        rows = [ids for batch in fast.batches for ids in batch]
        model = MODELS[kind][0]()
        mean = sum(sum_of_losses(model, ids) for ids in rows) / sum(len(ids) - 1 for ids in rows)
        mean.backward()
        for name, weight in model.named_parameters():
            largest = float(weight.grad.abs().max())
            difference = float((keep.found[name] - weight.grad).abs().max())
            assert difference <= 1e-5 * largest, (size, name)
