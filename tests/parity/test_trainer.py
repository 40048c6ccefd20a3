"""fastft.Trainer against transformers.Trainer: the same batches, and the right losses.

Where the stock loss is the exact mean (one process, no accumulation) both must agree step by step.
With accumulation the stock Trainer 5.23 is wrong for heads that ignore `num_items_in_batch`, so
ours is held against its own run with the undivided batch, and the stock figure is pinned.
"""

from __future__ import annotations

import numpy as np
import pytest
import transformers

import fastft
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.floor
ROWS = 283  # 50 steps in 3 epochs of 16 would be 16.67 a epoch: a short last batch each time


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def rows():
    return sentences(ROWS)


def label_ids(rows):
    return np.array([label == "positive" for _, label in rows], dtype=np.int64)


def stock_run(rows, tokenizer, folder, **overrides):
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=64)
    dataset = [
        {**{name: encoded[name][row] for name in encoded}, "labels": int(label)}
        for row, label in enumerate(label_ids(rows))
    ]
    trainer = StockTrainer(
        tiny_model(),
        arguments(transformers.TrainingArguments, folder, **overrides),
        train_dataset=dataset,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer


def fast_run(rows, tokenizer, folder, **overrides):
    dataset = fastft.TokenDataset.from_texts(
        [text for text, _ in rows], tokenizer, max_length=64, columns={"labels": label_ids(rows)}
    )
    trainer = FastTrainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, folder, **overrides),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer


def test_batches_and_losses_equal_the_stock_trainer_over_54_steps(rows, tokenizer, tmp_path):
    stock = stock_run(rows, tokenizer, tmp_path)
    fast = fast_run(rows, tokenizer, tmp_path)
    assert fast.batches == stock.batches
    assert len(fast.losses) == 54
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


def test_three_epochs_have_three_orders(rows, tokenizer, tmp_path):
    batches = fast_run(rows, tokenizer, tmp_path).batches
    epochs = [batches[start : start + 18] for start in (0, 18, 36)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    flat = [sorted(row for batch in epoch for row in batch) for epoch in epochs]
    assert flat[0] == flat[1] == flat[2]


def test_the_data_seed_decides_the_order_as_in_the_stock_trainer(rows, tokenizer, tmp_path):
    options = {"num_train_epochs": 1, "data_seed": 123}
    stock = stock_run(rows, tokenizer, tmp_path, **options)
    fast = fast_run(rows, tokenizer, tmp_path, **options)
    assert fast.batches == stock.batches
    assert fast.batches != fast_run(rows, tokenizer, tmp_path, num_train_epochs=1).batches


def test_dropping_the_last_batch_equals_the_stock_trainer(rows, tokenizer, tmp_path):
    options = {"num_train_epochs": 2, "dataloader_drop_last": True}
    stock = stock_run(rows, tokenizer, tmp_path, **options)
    fast = fast_run(rows, tokenizer, tmp_path, **options)
    assert fast.batches == stock.batches
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


@pytest.mark.parametrize("strategy", ["sequential", "group_by_length"])
def test_other_orders_are_the_stock_trainers_own(rows, tokenizer, tmp_path, strategy):
    options = {"num_train_epochs": 1, "train_sampling_strategy": strategy}
    stock = stock_run(rows, tokenizer, tmp_path, **options)
    fast = fast_run(rows, tokenizer, tmp_path, **options)
    assert fast.batches == stock.batches
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


def test_accumulation_takes_the_stock_batches_and_gives_the_undivided_loss(
    rows, tokenizer, tmp_path
):
    split = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    stock = stock_run(rows, tokenizer, tmp_path, **split)
    fast = fast_run(rows, tokenizer, tmp_path, **split)
    whole = fast_run(rows, tokenizer, tmp_path)
    assert fast.batches == stock.batches
    np.testing.assert_allclose(fast.losses, whole.losses, rtol=1e-5)


def test_the_stock_trainer_multiplies_the_loss_by_the_accumulation(rows, tokenizer, tmp_path):
    """Pins a fault of transformers 5.23: when this fails, it has been repaired there."""
    options = {"num_train_epochs": 1, "max_steps": 1}
    split = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    whole = stock_run(rows, tokenizer, tmp_path, **options).losses[0]
    divided = stock_run(rows, tokenizer, tmp_path, **options, **split).losses[0]
    assert divided / whole == pytest.approx(4.0, rel=1e-4)


def test_resuming_inside_the_second_epoch_goes_on_as_if_nothing_happened(rows, tokenizer, tmp_path):
    whole = fast_run(rows, tokenizer, tmp_path / "whole")
    saving = {"save_strategy": "steps", "save_steps": 23}
    fast_run(rows, tokenizer, tmp_path / "cut", **saving)
    dataset = fastft.TokenDataset.from_texts(
        [text for text, _ in rows], tokenizer, max_length=64, columns={"labels": label_ids(rows)}
    )
    resumed = FastTrainer(
        tiny_model(seed=9),
        arguments(fastft.TrainingArguments, tmp_path / "cut", **saving),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-23"))
    assert resumed.batches == whole.batches[23:]
    np.testing.assert_allclose(resumed.losses[-31:], whole.losses[-31:], rtol=1e-6)


def test_label_smoothing_with_accumulation_is_the_undivided_mean(rows, tokenizer, tmp_path):
    options = {"num_train_epochs": 1, "label_smoothing_factor": 0.1}
    split = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    divided = fast_run(rows, tokenizer, tmp_path, **options, **split)
    whole = fast_run(rows, tokenizer, tmp_path, **options)
    np.testing.assert_allclose(divided.losses, whole.losses, rtol=1e-5)


@pytest.mark.parametrize("is_scaled", [None, False, True])
def test_a_subclass_says_itself_whether_its_loss_is_scaled(is_scaled, rows, tokenizer, tmp_path):
    """transformers' switch for losses of one's own; only where nobody said so it is ours."""

    class Own(fastft.Trainer):
        loss_is_scaled_for_ga = is_scaled

    trainer = Own(tiny_model(), arguments(fastft.TrainingArguments, tmp_path))
    assert trainer.loss_is_scaled_for_ga is (is_scaled is not False)
