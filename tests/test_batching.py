"""`batching=`: batches by length in a Trainer, every example once an epoch, the exact loss."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import fastft
from fastft.errors import ConfigurationError
from fastft.training.batching import check_batching, settled_max_tokens
from tests.parity.recording import FastTrainer, arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer

HF = tiny_tokenizer()


def token_dataset(num_rows):
    texts, names = zip(*sentences(num_rows), strict=True)
    labels = np.array([name == "positive" for name in names], np.int64)
    # Rows of many lengths: a text is repeated up to five times.
    texts = [" ".join([text] * (1 + row % 5)) for row, text in enumerate(texts)]
    return fastft.TokenDataset.from_texts(texts, HF, max_length=60, columns={"labels": labels})


def trainer(folder, dataset, cls=FastTrainer, batching="tokens", max_tokens=None, **overrides):
    return cls(
        tiny_model(),
        arguments(fastft.TrainingArguments, folder, **overrides),
        train_dataset=dataset,
        processing_class=HF,
        batching=batching,
        max_tokens=max_tokens,
    )


class Rows(FastTrainer):
    """Keeps the rows of every micro-batch, and whether they count."""

    def __init__(self, *args, **kwargs):
        self.rows = []
        super().__init__(*args, **kwargs)

    def training_step(self, model, inputs, *args, **kwargs):
        self.rows.append((inputs.rows.tolist(), getattr(inputs, "has_weight", True)))
        return super().training_step(model, inputs, *args, **kwargs)


def epochs(rows, number):
    size = len(rows) // number
    assert size * number == len(rows)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@pytest.mark.parametrize(
    ("batching", "max_tokens"), [("bucketed", None), ("tokens", None), ("tokens", 70)]
)
def test_every_example_counts_once_an_epoch_and_every_epoch_has_its_order(
    tmp_path, batching, max_tokens
):
    dataset = token_dataset(61)
    ours = trainer(
        tmp_path, dataset, Rows, batching, max_tokens,
        per_device_train_batch_size=4, gradient_accumulation_steps=2,
    )  # fmt: skip
    ours.train()
    orders = epochs(ours.rows, 3)
    for order in orders:
        counted = [row for rows, has_weight in order if has_weight for row in rows]
        assert sorted(counted) == list(range(61))
    assert len({str(order) for order in orders}) == 3
    if max_tokens is not None:
        for rows, _ in ours.rows:
            assert len(rows) * int(dataset.lengths[rows].max()) <= max_tokens
    assert ours.state.global_step == len(ours.rows) // 2 == ours.state.max_steps


def test_the_loss_of_a_step_is_the_mean_over_its_examples(tmp_path):
    """Batches of different sizes, and one that is repeated, in one step."""
    dataset = token_dataset(61)
    ours = trainer(
        tmp_path, dataset, Rows, max_tokens=70, gradient_accumulation_steps=4, learning_rate=0.0,
        num_train_epochs=2,
    )  # fmt: skip
    ours.train()
    model = ours.model.eval()
    steps = [ours.rows[start : start + 4] for start in range(0, len(ours.rows), 4)]
    assert any(not has_weight for step in steps for _, has_weight in step)
    collate = fastft.DataCollatorWithPadding(HF)
    for step, found in zip(steps, ours.losses, strict=True):
        counted = [row for rows, has_weight in step if has_weight for row in rows]
        if not counted:
            assert found == 0.0
            continue
        with torch.no_grad():
            losses = [model(**collate(dataset.__getitems__([row]))).loss.item() for row in counted]
        assert found == pytest.approx(np.mean(losses), rel=2e-4)


def test_a_run_that_is_stopped_goes_on_with_the_same_batches(tmp_path):
    dataset = token_dataset(61)
    options = {"max_tokens": 70, "save_strategy": "steps", "save_steps": 7}
    whole = trainer(tmp_path / "whole", dataset, Rows, **options)
    whole.train()
    stops = sorted((tmp_path / "whole").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    for stop in (stops[0], stops[len(stops) // 2], stops[-2]):
        rest = trainer(tmp_path / "rest", dataset, Rows, max_tokens=70)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rest.train(resume_from_checkpoint=str(stop))
        assert rest.rows == whole.rows[int(stop.name[11:]) :]
        assert rest.losses[-5:] == pytest.approx(whole.losses[-5:], rel=1e-5)


@pytest.mark.parametrize(
    ("batching", "max_tokens", "message"),
    [
        ("token", None, r"no such batching(.|\n)*batching='tokens'"),
        (3, None, "no such batching"),
        ("packed", 0, "a number of at least 1"),
        ("random", 4096, "for batches by a budget"),
        ("tokens", 0, "a number of at least 1"),
        ("tokens", True, "a number of at least 1"),
        ("tokens", 2.5, "a number of at least 1"),
    ],
)
def test_what_cannot_be_is_refused(batching, max_tokens, message):
    with pytest.raises(ConfigurationError, match=message):
        check_batching(batching, max_tokens)


def test_a_row_above_the_budget_is_named(tmp_path):
    dataset = token_dataset(61)
    with pytest.raises(ConfigurationError, match="row 0: a row is longer than max_tokens"):
        trainer(tmp_path, dataset, max_tokens=10).train()


def test_steps_that_nothing_fills_are_refused(tmp_path):
    few = trainer(
        tmp_path, token_dataset(6), batching="bucketed", per_device_train_batch_size=2,
        gradient_accumulation_steps=4, dataloader_drop_last=True,
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="fill no step"):
        few.train()


def test_a_budget_that_is_not_given_keeps_about_the_number_of_rows():
    dataset = token_dataset(61)
    budget = settled_max_tokens(dataset, "tokens", None, 8)
    assert budget == pytest.approx(8 * dataset.lengths.mean(), abs=1)
    assert settled_max_tokens(dataset, "tokens", None, 1) == dataset.lengths.max()
    assert settled_max_tokens(dataset, "bucketed", None, 8) is None


@pytest.mark.parametrize(
    "options", [{"batching": "tokens", "max_tokens": 128}, {"batching": "bucketed"}]
)
def test_finetune_plans_its_steps_by_the_batches(tiny_bert, tmp_path, options):
    result = fastft.finetune(
        tiny_bert, sentences(60), output_dir=tmp_path / "run", num_train_epochs=2, quiet=True,
        per_device_train_batch_size=4, gradient_accumulation_steps=2, **options,
    )  # fmt: skip
    assert result.plan["total_steps"] == max(entry["step"] for entry in result.history)
    saved = (tmp_path / "run" / "run.yaml").read_text()
    assert f"batching: {options['batching']}" in saved


def test_finetune_refuses_a_batching_before_it_reads_anything(tmp_path):
    with pytest.raises(ConfigurationError, match="argument batching"):
        fastft.finetune(tmp_path / "no-model", tmp_path / "no-data", batching="lengths")
