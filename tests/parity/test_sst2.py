"""MiniLM on SST-2: 50 steps equal to the stock Trainer, and the same accuracy after an epoch."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import fastft
from tests.parity.recording import FastTrainer, StockTrainer, arguments

# Two epochs on a slow machine take longer than the usual limit.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def sst2(shared_data):
    def rows(name):
        with (shared_data / "classification" / "sst2_glue" / f"{name}.tsv").open(
            encoding="utf-8", newline="\n"
        ) as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
        return [text for text, _ in lines], np.array([int(label) for _, label in lines])

    return {"train": rows("train"), "dev": rows("dev")}


def model(path, **overrides):
    torch.manual_seed(42)
    return AutoModelForSequenceClassification.from_pretrained(path, num_labels=2, **overrides)


def stock_dataset(tokenizer, texts, labels):
    encoded = tokenizer(texts, truncation=True, max_length=128)
    return [
        {**{name: encoded[name][row] for name in encoded}, "labels": int(labels[row])}
        for row in range(len(texts))
    ]


def token_dataset(tokenizer, texts, labels):
    return fastft.TokenDataset.from_texts(
        texts, tokenizer, max_length=128, columns={"labels": labels}
    )


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def run(kind, path, sst2, folder, num_rows, overrides, **options):
    """Trains on the first rows of SST-2, in the stock way or in ours."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    cls, make, args = {
        "stock": (StockTrainer, stock_dataset, transformers.TrainingArguments),
        "fast": (FastTrainer, token_dataset, fastft.TrainingArguments),
    }[kind]
    texts, labels = sst2["train"]
    settings = {"num_train_epochs": 1, "learning_rate": 5e-5, "logging_steps": 1, **options}
    trainer = cls(
        model(path, **overrides),
        arguments(args, folder, **settings),
        train_dataset=make(tokenizer, texts[:num_rows], labels[:num_rows]),
        eval_dataset=make(tokenizer, *sst2["dev"]),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.train()
    return trainer


def test_fifty_steps_equal_the_stock_trainer(minilm_path, sst2, tmp_path):
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    stock, fast = (
        run(kind, minilm_path, sst2, tmp_path / kind, 6000, no_dropout, max_steps=50)
        for kind in ("stock", "fast")
    )
    assert fast.batches == stock.batches
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


def test_an_epoch_gives_the_accuracy_of_the_stock_trainer(minilm_path, sst2, tmp_path):
    stock, fast = (
        run(kind, minilm_path, sst2, tmp_path / kind, 6000, {}).evaluate()["eval_accuracy"]
        for kind in ("stock", "fast")
    )
    print(f"dev accuracy: stock {stock:.4f}, fastft {fast:.4f}")
    assert stock > 0.7, "the stock run itself learnt nothing"
    assert abs(fast - stock) <= 0.01
