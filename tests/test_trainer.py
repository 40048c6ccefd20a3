from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import fastft
from fastft.errors import ConfigurationError, NonFiniteLossError
from fastft.training.class_weights import ClassWeights
from tests.parity.recording import arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer


class Rows(torch.utils.data.Dataset):
    """The dataset of the classic script: encodings and labels, a dict of tensors a row."""

    def __init__(self, texts, labels, tokenizer):
        self.encodings = tokenizer(texts, truncation=True, padding=True)
        self.labels = labels

    def __getitem__(self, index):
        item = {name: torch.tensor(values[index]) for name, values in self.encodings.items()}
        return {**item, "labels": torch.tensor(self.labels[index])}

    def __len__(self):
        return len(self.labels)


def test_the_classic_script_runs_with_nothing_but_the_import_changed(tmp_path):
    from fastft import Trainer, TrainingArguments

    rows = sentences(64)
    labels = [int(label == "positive") for _, label in rows]
    train_dataset = Rows([text for text, _ in rows], labels, tiny_tokenizer())
    eval_dataset = Rows([text for text, _ in rows[:20]], labels[:20], tiny_tokenizer())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = TrainingArguments(
            output_dir=str(tmp_path / "results"),
            num_train_epochs=3,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=16,
            warmup_steps=500,
            weight_decay=0.01,
            logging_dir="./logs",
            evaluation_strategy="epoch",
        )
        trainer = Trainer(
            model=tiny_model(), args=args, train_dataset=train_dataset, eval_dataset=eval_dataset
        )
        trainer.train()
    assert trainer.state.global_step == 12
    assert sum("eval_loss" in entry for entry in trainer.state.log_history) == 3


def token_dataset(labels=(0, 1), dtype=np.int64):
    texts = [text for text, _ in sentences(len(labels))]
    return fastft.TokenDataset.from_texts(
        texts, tiny_tokenizer(), max_length=64, columns={"labels": np.array(labels, dtype)}
    )


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(tmp_path):
    model = tiny_model()
    model.classifier.weight.data[0, 0] = float("nan")
    trainer = fastft.Trainer(
        model,
        arguments(fastft.TrainingArguments, tmp_path),
        train_dataset=token_dataset([0, 1, 0, 1]),
        processing_class=tiny_tokenizer(),
    )
    rows = r"(\d, ){3}\d \(counted from 0\)"
    with pytest.raises(NonFiniteLossError, match=f"step 1, training rows {rows}: the loss became"):
        trainer.train()


def test_a_token_dataset_without_a_tokenizer_is_an_error_that_says_what_to_pass(tmp_path):
    trainer = fastft.Trainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, tmp_path),
        train_dataset=token_dataset(),
    )
    with pytest.raises(ConfigurationError, match="processing_class"):
        trainer.train()


def test_tokenizer_is_accepted_for_processing_class(tmp_path):
    tokenizer = tiny_tokenizer()
    trainer = fastft.Trainer(
        tiny_model(), arguments(fastft.TrainingArguments, tmp_path), tokenizer=tokenizer
    )
    assert trainer.processing_class is tokenizer


def test_evaluation_does_not_depend_on_the_batch_size(tmp_path):
    dataset = token_dataset([0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0])
    losses = []
    for batch_size in (1, 4, 16):
        trainer = fastft.Trainer(
            tiny_model(),
            arguments(fastft.TrainingArguments, tmp_path, per_device_eval_batch_size=batch_size),
            eval_dataset=dataset,
            processing_class=tiny_tokenizer(),
        )
        losses.append(trainer.evaluate()["eval_loss"])
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_evaluation_weighs_tokens_not_batches(tmp_path):
    """The stock Trainer gives another loss for each of these batch sizes (transformers #39241)."""
    from transformers import DataCollatorForLanguageModeling, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=1, n_positions=64)
    )
    texts = ["good", "the film was a very great film and you like it", "bad plot", "a day"] * 5
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in texts[:17]]
    losses = []
    for batch_size in (1, 4, 16, 64):
        trainer = fastft.Trainer(
            model,
            arguments(fastft.TrainingArguments, tmp_path, per_device_eval_batch_size=batch_size),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
            eval_dataset=rows,
        )
        losses.append(trainer.evaluate()["eval_loss"])
    logits = [model(torch.tensor([row["input_ids"]])).logits[0].double() for row in rows]
    targets = [torch.tensor(row["input_ids"]) for row in rows]
    exact = torch.nn.functional.cross_entropy(
        torch.cat([scores[:-1] for scores in logits]), torch.cat([ids[1:] for ids in targets])
    )
    np.testing.assert_allclose(losses, exact.item(), rtol=1e-6)


def test_waiting_for_data_and_steps_are_timed(tmp_path):
    from fastft.training.progress import TimingCallback
    from fastft.training.timing import Timing

    timing = Timing()
    trainer = fastft.Trainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, tmp_path),
        train_dataset=token_dataset([0, 1] * 20),
        processing_class=tiny_tokenizer(),
        callbacks=[TimingCallback(timing)],
        timing=timing,
    )
    trainer.train()
    summary = timing.summary()
    assert summary["seconds_before_first_step"] > 0
    assert 0 < summary["data_stall_share"] < 1
    assert summary["step_ms"] > 0


def test_workers_are_not_started_and_the_user_is_told(tmp_path):
    trainer = fastft.Trainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, tmp_path, dataloader_num_workers=2),
        train_dataset=token_dataset([0, 1] * 8),
        processing_class=tiny_tokenizer(),
    )
    with pytest.warns(UserWarning, match="dataloader_num_workers has no effect"):
        loader = trainer.get_train_dataloader()
    assert loader.num_workers == 0


def first_losses(folder, batch_size, accumulation, dataset, **options):
    trainer = fastft.Trainer(
        tiny_model(num_labels=3),
        arguments(
            fastft.TrainingArguments,
            folder,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=2,
        ),
        train_dataset=dataset,
        processing_class=tiny_tokenizer(),
        **options,
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_class_weights_give_the_weighted_mean_of_torch_however_a_step_is_split(tmp_path):
    weights = torch.tensor([0.2, 1.0, 5.0])
    dataset = token_dataset([0, 0, 1, 2, 0, 1, 0, 0, 2, 0, 0, 1])
    options = {"class_weights": ClassWeights(weights)}
    whole = first_losses(tmp_path / "a", 12, 1, dataset, **options)
    split = first_losses(tmp_path / "b", 3, 4, dataset, **options)
    np.testing.assert_allclose(split, whole, rtol=1e-5)
    model = tiny_model(num_labels=3)
    batch = fastft.DataCollatorWithPadding(tiny_tokenizer())(dataset.__getitems__(range(12)))
    labels = batch.pop("labels")
    with torch.no_grad():
        expected = torch.nn.CrossEntropyLoss(weights)(model(**batch).logits, labels)
    assert whole[0] == pytest.approx(float(expected), rel=1e-5)


def test_a_micro_batch_without_labels_weighs_nothing_and_is_no_nan(tmp_path):
    """One of four rows has no label: the losses are those of the step without it."""
    some = first_losses(tmp_path / "a", 1, 4, token_dataset([0, -100, 1, 2]))
    texts = [text for text, _ in sentences(4)]
    dataset = fastft.TokenDataset.from_texts(
        [texts[0], *texts[2:]], tiny_tokenizer(), max_length=64, columns={"labels": [0, 1, 2]}
    )
    np.testing.assert_allclose(some, first_losses(tmp_path / "b", 3, 1, dataset), rtol=1e-5)


def test_an_evaluation_keeps_the_order_of_the_rows_however_training_draws(tmp_path):
    """The stock Trainer sorts it by length, too, so that predictions belong to other rows."""
    labels = list(range(12))
    arguments_ = arguments(
        fastft.TrainingArguments, tmp_path, train_sampling_strategy="group_by_length",
        per_device_eval_batch_size=5,
    )  # fmt: skip
    seen = []
    trainer = fastft.Trainer(
        tiny_model(num_labels=12),
        arguments_,
        eval_dataset=token_dataset(labels),
        processing_class=tiny_tokenizer(),
        compute_metrics=lambda prediction: seen.extend(prediction.label_ids.tolist()) or {},
    )
    trainer.evaluate()
    assert seen == labels
