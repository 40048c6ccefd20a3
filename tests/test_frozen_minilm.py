"""A real encoder on real sentences: as accurate as the stock Trainer that freezes the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import transformers

import fastft
from fastft.modeling.freeze import choose_trainable
from tests.parity.recording import arguments

if TYPE_CHECKING:
    from pathlib import Path

# Six trainings, three of them of the stock Trainer.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def split(path: Path, rows: int, hf: Any) -> fastft.TokenDataset:
    lines = path.read_text(encoding="utf-8").split("\n")[1 : rows + 1]
    pairs = [line.split("\t") for line in lines]
    labels = [int(label) for _, label in pairs]
    texts = [text for text, _ in pairs]
    return fastft.TokenDataset.from_texts(texts, hf, max_length=128, columns={"labels": labels})


def accuracy(
    cls: Any, settings: Any, path: Path, data: Any, hf: Any, seed: int, **options: Any
) -> float:
    transformers.set_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
    choose_trainable(model, "head", [])
    rows, held_out = data
    trainer = cls(
        model,
        settings,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=hf,
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())
        },
        **options,
    )
    trainer.train()
    if options:
        assert "run once for each of 1,000 training rows" in trainer.explain_frozen()
    return float(trainer.evaluate()["eval_accuracy"])


def test_a_head_is_as_accurate_as_with_the_stock_trainer(
    shared_data: Path, minilm_path: Path, minilm_tokenizer: Any, tmp_path: Path
) -> None:
    folder, hf = shared_data / "classification" / "sst2_glue", minilm_tokenizer
    data = [
        split(folder / f"{name}.tsv", rows, hf) for name, rows in (("train", 1000), ("dev", 872))
    ]
    as_dicts = [[part[row] for row in range(len(part))] for part in data]
    ours, stock = [], []
    for seed in range(3):
        options: dict[str, Any] = {"learning_rate": 1e-2, "seed": seed, "num_train_epochs": 3}
        fast = arguments(fastft.TrainingArguments, tmp_path, **options)
        ours.append(
            accuracy(fastft.Trainer, fast, minilm_path, data, hf, seed, frozen_cache="memory")
        )
        plain = arguments(transformers.TrainingArguments, tmp_path, **options)
        stock.append(accuracy(transformers.Trainer, plain, minilm_path, as_dicts, hf, seed))
    assert np.mean(ours) >= np.mean(stock) - 0.005, (ours, stock)
    assert np.mean(ours) > 0.6
