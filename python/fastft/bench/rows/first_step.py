"""From a file of texts and classes to the first optimizer step, the way one writes it oneself.

The peer reads the file by `datasets.load_dataset`, encodes with `map` in batches and trains with
the stock Trainer. The model is in memory already; nothing is taken from a cache. All cores, wall
time.
"""

from __future__ import annotations

import csv
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.bench.row import Case, Context, Row, Variant, absent, demand, ours
from fastft.bench.rows import training
from fastft.bench.rows.encoders import class_tables, encoder
from fastft.bench.rows.training import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LENGTH = 128
STOCK = "datasets.map + transformers"


def rows() -> list[Row]:
    """One row: a classifier."""
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "seconds": (0, 0), "repetitions": (3, 5),
    }  # fmt: skip
    title = "from a csv file to the first optimizer step, MiniLM"
    return [Row("train/first-step", title, _first_step, **settings)]


def _first_step(context: Context, number: tuple[int, int] = (2_000, 60_000)) -> Iterable[Case]:
    table = class_tables(context, (context.pick(*number), 0))["train"]
    num_labels = len(set(table["label"]))
    tokenizer = context.data.tokenizer("bert_uncased")
    job = Job(
        encoder(context, num_labels=num_labels), None, training.collators(tokenizer), tokenizer
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [("text", "label"), *zip(table["text"], table["label"], strict=True)]
            )

        def fresh() -> tuple[Any]:
            return (job.model(),)

        own = ours(partial(_own, job, path), fresh=fresh)
        case = Case([own], partial(_check, job, path), len(table["text"]), "rows")
        reason = absent("datasets")
        if reason:
            case.absent[STOCK] = reason
        else:
            case.variants.append(Variant(STOCK, partial(_peer, job, path), fresh=fresh))
        yield case


def read_own(job: Job, path: Path) -> Any:
    """The rows of a file as ours reads them."""
    return training.task_data("text-classification", path, job.tokenizer, MAX_LENGTH)["train"]


def read_peer(job: Job, path: Path, cache: str) -> Any:
    """The rows of a file as `datasets` reads them, in a cache that is new."""
    import datasets

    datasets.disable_progress_bars()
    table = datasets.load_dataset("csv", data_files=str(path), cache_dir=cache, split="train")
    table = table.class_encode_column("label").rename_column("label", "labels")

    def encode(batch: dict[str, Any]) -> Any:
        return job.tokenizer(batch["text"], truncation=True, max_length=MAX_LENGTH)

    return table.map(encode, batched=True, remove_columns=["text"])


def _own(job: Job, path: Path, model: Any) -> None:
    data = read_own(job, path)
    training.train(replace(job, dataset=data), data, own=True, max_steps=1)(model)


def _peer(job: Job, path: Path, model: Any) -> None:
    with tempfile.TemporaryDirectory() as cache:
        training.train(job, read_peer(job, path, cache), own=False, max_steps=1)(model)


def _check(job: Job, path: Path) -> str:
    if absent("datasets"):
        return "nothing to compare with"
    own = read_own(job, path)
    with tempfile.TemporaryDirectory() as cache:
        peer = read_peer(job, path, cache)
        demand(len(own) == len(peer), f"{len(own)} and {len(peer)} rows")
        for number, expected in enumerate(peer):
            row = own[number]
            demand(list(row["input_ids"]) == expected["input_ids"], f"ids of row {number} differ")
            demand(int(row["labels"]) == expected["labels"], f"label of row {number} differs")
    return f"ids and labels of {len(own):,} rows equal"
