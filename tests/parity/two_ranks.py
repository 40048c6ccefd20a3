"""Run under torchrun by test_two_ranks.py: trains stock and ours, writes what each rank saw."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import fastft
from fastft.training.distributed import broadcast_array, broadcast_json
from tests.fused_models import VOCABULARY, build
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer

FLATTENED = (11, 13)
"""Rows of a training whose batches of 8 do not come out even."""


def flattened(folder: Path, rows: int, batch_size: int) -> dict[str, object]:
    """Trains a causal model on rows that stand end to end; its weights stay."""
    generator = np.random.default_rng(rows)
    lengths = generator.integers(2, 12, rows)
    ids = generator.integers(5, VOCABULARY - 1, lengths.sum()).astype(np.uint16)
    tokens = fastft.TokenDataset.from_ragged(ids, np.concatenate([[0], np.cumsum(lengths)]))
    sizes = {f"per_device_{name}_batch_size": batch_size for name in ("train", "eval")}
    trainer = fastft.Trainer(
        build("llama"),
        arguments(
            *(fastft.TrainingArguments, folder),
            num_train_epochs=1,
            learning_rate=0.0,
            logging_steps=1,
            **sizes,
        ),
        train_dataset=tokens,
        eval_dataset=tokens,
        data_collator=fastft.DataCollatorWithFlattening(),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "eval_loss": trainer.evaluate()["eval_loss"]}


def record(trainer):
    trainer.train()
    return {"batches": trainer.batches, "losses": trainer.losses}


def main(folder: Path, numbers: list[int]) -> None:
    report = {str(rows): trainings(folder, rows) for rows in numbers}
    report["broadcast"] = broadcasts()
    report.update(head_alone(folder), refusal=refusal(folder))
    report["flattened"] = {str(rows): flattened(folder, rows, 4) for rows in FLATTENED}
    rank = int(os.environ["RANK"])
    (folder / f"rank{rank}.json").write_text(json.dumps(report))


def trainings(folder: Path, rows: int) -> dict[str, object]:
    tokenizer = tiny_tokenizer()
    texts, names = zip(*sentences(rows), strict=True)
    labels = np.array([name == "positive" for name in names], dtype=np.int64)
    encoded = tokenizer(list(texts), truncation=True, max_length=64)
    dicts = [
        {**{name: encoded[name][row] for name in encoded}, "labels": int(labels[row])}
        for row in range(rows)
    ]
    tokens = fastft.TokenDataset.from_texts(
        list(texts), tokenizer, max_length=64, columns={"labels": labels}
    )
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 8}
    stock = StockTrainer(
        tiny_model(),
        arguments(transformers.TrainingArguments, folder, **options),
        train_dataset=dicts,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    fast = FastTrainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, folder, **options),
        train_dataset=tokens,
        eval_dataset=fastft.TokenDataset.from_texts(
            list(texts[:13]), tokenizer, max_length=64, columns={"labels": labels[:13]}
        ),
        compute_metrics=lambda prediction: {"rows": len(prediction.label_ids)},
        processing_class=tokenizer,
    )
    report = {"stock": record(stock), "fast": record(fast), "metrics": fast.evaluate()}
    by_length = FastTrainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, folder, **options),
        train_dataset=tokens,
        processing_class=tokenizer,
        batching="tokens",
        max_tokens=96,
    )
    report["tokens"] = record(by_length)
    return report


def head_alone(folder: Path) -> dict[str, object]:
    """Trains the head of the model in the folder on its rows.jsonl, by one call of finetune."""
    result = fastft.finetune(
        folder / "tiny-bert", folder / "rows.jsonl", num_train_epochs=1, learning_rate=1e-2,
        train="head", per_device_train_batch_size=4, use_cpu=True, quiet=True,
        output_dir=folder / "two",
    )  # fmt: skip
    wrapped = result.trainer.model_wrapped
    return {"head": result.metrics, "looks_for_unused": wrapped.find_unused_parameters}


def refusal(folder: Path) -> str:
    """Calls finetune on data with a damaged line, which the first rank alone reads."""
    with pytest.raises(fastft.Error) as caught:
        fastft.finetune(folder / "tiny-bert", folder / "bad.jsonl", use_cpu=True, quiet=True)
    return str(caught.value)


def broadcasts() -> list[object]:
    """Sends things from rank 0 and gives what arrived."""
    is_main = os.environ["RANK"] == "0"
    device = torch.device("cpu")
    arrays = [
        np.arange(5, dtype=np.uint16),
        np.zeros((0, 3), np.float32),
        np.array([[1.5, -2.0]]),
        np.array([True, False]),
    ]
    received = [broadcast_array(array if is_main else None, device) for array in arrays]
    state = broadcast_json({"größe": [1, None]} if is_main else None, device)
    return [[str(array.dtype), array.tolist(), list(array.shape)] for array in received] + [state]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
    torch.distributed.destroy_process_group()
