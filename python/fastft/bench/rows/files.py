"""From a table on disk to tokens and labels in memory, against `datasets`.

Nothing is kept between repetitions: our tokenizer has seen no text, `datasets` begins with an empty
cache folder. All cores, wall time.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.bench.made import megabytes
from fastft.bench.row import Case, Context, Row, Variant, absent, demand, ours
from fastft.bench.rows.padded import unseen

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 512


def rows() -> list[Row]:
    """One row."""
    return [
        Row(
            "tokens/file",
            "bert_uncased: a table of short texts, from file to tokens and labels",
            _cases,
            clock="wall",
            threads=None,
            asked={"datasets.map": 20},
            seconds=(0, 0),
        )
    ]


def _of_ours(path: Path, tokenizer: Any) -> Any:
    from fastft.data.sources import open_source
    from fastft.tasks.text_classification import TextClassification

    source = open_source(path)
    names = ("text", "pair", "label", "label_names")
    options: dict[str, Any] = {**TextClassification.options, **dict.fromkeys(names)}
    task = TextClassification.from_source(source, options)
    return task.data(source.splits["train"], tokenizer, MOST).dataset


def _of_datasets(path: Path, hf: Any, cache: Path) -> Any:
    import datasets

    rows = datasets.load_dataset(
        "csv", data_files=str(path), delimiter="\t", quoting=csv.QUOTE_NONE, split="train",
        cache_dir=str(cache),
    )  # fmt: skip
    return rows.map(lambda part: hf(part["text"], truncation=True, max_length=MOST), batched=True)


def _write(path: Path, texts: list[str]) -> None:
    # The labels are no matter here; tabs would be columns.
    lines = [f"{' '.join(text.split())}\t{len(text) % 2}\n" for text in texts]
    path.write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")


def _cases(context: Context) -> Iterable[Case]:
    texts, hf = context.data.corpus("short"), context.data.tokenizer("bert_uncased")
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "rows.tsv", Path(folder) / "cache"
        _write(path, texts)

        def peer() -> Any:
            return _of_datasets(path, hf, cache)

        def empty() -> tuple[()]:
            shutil.rmtree(cache, ignore_errors=True)
            return ()

        def check() -> str:
            found = _of_ours(path, unseen(hf))
            if not case.absent:
                expected = peer()
                ids = np.concatenate(expected["input_ids"][:])
                demand(np.array_equal(found.ids, ids), "the ids differ")
                labels = expected["label"][:]
                demand(found.columns["labels"].tolist() == labels, "the labels differ")
            return "ids and labels equal"

        case = Case(
            [ours(lambda one: _of_ours(path, one), fresh=lambda: (unseen(hf),))],
            check,
            megabytes(texts),
            "MB",
        )
        reason = absent("datasets")
        if reason is None:
            import datasets

            datasets.disable_progress_bars()
            datasets.disable_caching()
            case.variants.append(Variant("datasets.map", peer, fresh=empty))
        else:
            case.absent["datasets.map"] = reason
        yield case
