"""Models and rows of token ids that rows of training share.

With `--data` rows are real texts and encoders begin from MiniLM; else ids are random, rows as long
as those of the real sets, and where no pretrained model is installed weights are random too: how
long a step takes depends on neither.
"""

from __future__ import annotations

import csv
import gzip
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.bench import made
from fastft.bench.row import Context, SkippedRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SPLITS = ("train", "validation")
LENGTHS: dict[str, dict[str, Any]] = {
    "short": {"mean": 13, "sigma": 0.65, "longest": 66},
    "long": {"mean": 300, "sigma": 0.63, "longest": 2_300},
    "de": {"mean": 20, "sigma": 0.33, "longest": 60},
    "en": {"mean": 16, "sigma": 0.3, "longest": 50},
    "equal": {"mean": 128, "sigma": 0.0, "longest": 128},
}
"""Tokens of SST-2, IMDB and the two sides of Multi30k, counted on 5,000 rows of each; and of rows
without padding, for which there is no set."""


def encoder(
    context: Context, *, layers: int = 6, dropout: bool = True, num_labels: int = 2
) -> Callable[[], Any]:
    """Makes an encoder with a head for classes, the same each time; random where it has to be."""
    import torch
    import transformers

    chosen: dict[str, Any] = {"num_labels": num_labels, "num_hidden_layers": layers}
    if not dropout:
        chosen |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path = pretrained(context)
    config = transformers.BertConfig(
        hidden_size=384, num_attention_heads=12, intermediate_size=1536, **chosen
    )

    def make() -> Any:
        torch.manual_seed(0)
        auto = transformers.AutoModelForSequenceClassification
        return auto.from_config(config) if path is None else auto.from_pretrained(path, **chosen)

    return make


def pretrained(context: Context) -> Path | None:
    """The folder of MiniLM, or None where it is not installed."""
    try:
        return context.data.minilm()
    except SkippedRow:
        return None


def translator(context: Context, *, layers: int = 6, dropout: bool = True) -> Callable[[], Any]:
    """Makes a T5 of the width of t5-small, with random weights."""
    import torch
    import transformers

    config = transformers.T5Config(
        vocab_size=32_128, d_model=512, d_kv=64, d_ff=2048, num_layers=layers, num_heads=8,
        decoder_start_token_id=0, dropout_rate=0.1 if dropout else 0.0,
    )  # fmt: skip

    def make() -> Any:
        torch.manual_seed(0)
        return transformers.T5ForConditionalGeneration(config)

    return make


def labelled(context: Context, kind: str, number: int, max_length: int) -> tuple[Any, Any]:
    """Rows of "short" or "long" texts with labels drawn from two, and a tokenizer.

    Args:
        context: What the row is made from.
        kind: "short" for those of SST-2, "long" for those of IMDB, "equal" for random ids.
        number: Rows, drawn at random.
        max_length: Where rows are cut.
    """
    import fastft

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, number)
    if context.data.folder is not None and kind != "equal":
        tokenizer = context.data.tokenizer("bert_uncased")
        texts = context.data.corpus(kind)
        texts = [texts[row] for row in rng.permutation(len(texts))[:number]]
        columns = {"labels": labels[: len(texts)]}
        return fastft.TokenDataset.from_texts(
            texts, fastft.Tokenizer.from_hf(tokenizer), max_length=max_length, columns=columns
        ), tokenizer
    lengths = np.minimum(made.lognormal_lengths(number, **LENGTHS[kind]), max_length)
    ids, offsets = made.ragged(lengths)
    inputs = ("input_ids", "attention_mask")
    dataset = fastft.TokenDataset(ids, offsets, columns={"labels": labels}, model_inputs=inputs)
    return dataset, made.word_tokenizer()


def class_tables(context: Context, most: tuple[int, int]) -> dict[str, dict[str, list[str]]]:
    """Texts and classes of SST-2 with `--data`, or else of Banking77, drawn at random."""
    if context.data.folder is None:
        files = [context.data.example("banking77") / f"{split}.csv" for split in SPLITS]
        options: dict[str, Any] = {}
    else:
        folder = context.data.folder / "classification/sst2_glue"
        files = [folder / "train.tsv", folder / "dev.tsv"]
        options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    tables = []
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            tables.append([row[:2] for row in csv.reader(file, **options)][1:])
    # Banking77 is sorted by class; held-out rows of a class that was not drawn are left out.
    for table in tables:
        random.Random(0).shuffle(table)
    train = tables[0][: most[0]]
    seen = {label for _, label in train}
    validation = [row for row in tables[1] if row[1] in seen][: most[1]]
    return {
        split: {"text": [text for text, _ in table], "label": [label for _, label in table]}
        for split, table in zip(SPLITS, (train, validation), strict=True)
    }


def sentence_pairs(
    context: Context, number: int, max_length: int
) -> tuple[list[dict[str, Any]], Any]:
    """Sentences in German and English, as ids, and a tokenizer."""
    if context.data.folder is None:
        tokenizer = made.word_tokenizer()
        sides = [_random_rows(number, seed, side) for seed, side in enumerate(("de", "en"))]
    else:
        tokenizer = context.data.tokenizer("t5")
        folder = context.data.folder / "translation/multi30k_de_en"
        sides = []
        for language in ("de", "en"):
            with gzip.open(folder / f"train.{language}.gz", "rt", encoding="utf-8") as file:
                texts = file.read().split("\n")[:number]
            sides.append(tokenizer(texts, truncation=True, max_length=max_length)["input_ids"])
    return [
        {"input_ids": source, "attention_mask": [1] * len(source), "labels": target}
        for source, target in zip(*sides, strict=True)
    ], tokenizer


def _random_rows(number: int, seed: int, side: str) -> list[list[int]]:
    lengths: NDArray[Any] = made.lognormal_lengths(number, seed=seed, **LENGTHS[side])
    ids, offsets = made.ragged(lengths, seed)
    return [row.tolist() for row in np.split(ids, offsets[1:-1].astype(np.int64))]
