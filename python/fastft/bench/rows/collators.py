"""Batches from rows of tokens, against the collators of transformers.

Lognormal lengths (mean 180, cut at 512), random ids, batches of 32 in random order. Ours goes from
indices to tensors; theirs from a list of dicts, the form that they are made for, the picking of
the 32 included. The limit copies the bytes of the first batch. One thread.
"""

from __future__ import annotations

import itertools
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.bench import made
from fastft.bench.row import Case, Context, Row, Variant, demand, limit, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BATCH, NUM_ROWS = 32, 4096
FLAT = {"return_flash_attn_kwargs": True, "return_seq_idx": True}
KINDS: dict[str, tuple[str, str, dict[str, Any], float]] = {
    "padding": ("WithPadding", "classes", {}, 150),
    "token-labels": ("ForTokenClassification", "tags", {}, 150),
    "causal-lm": ("ForLanguageModeling", "", {"mlm": False}, 100),
    "masked-lm": ("ForLanguageModeling", "", {"mlm": True}, 100),
    "flattening": ("WithFlattening", "", {}, 50),
    "flattening-all": ("WithFlattening", "", FLAT, 50),
}
"""By name: the class behind "DataCollator", its labels, its options, what was asked."""


def rows() -> list[Row]:
    """A row for each collator."""
    return [
        Row(
            f"batches/collator/{name}",
            f"a batch of {BATCH}: DataCollator{kind}" + (" with all keys" if "all" in name else ""),
            partial(_cases, name=name),
            asked={"transformers": asked, "copy": 4},
        )
        for name, (kind, _, _, asked) in KINDS.items()
    ]


@cache
def token_data(labels: str, num_rows: int = NUM_ROWS) -> Any:
    """A data set of made rows, with "classes" (B,), "tags" (B, T) or no labels."""
    from fastft.data.ragged_column import RaggedColumn
    from fastft.data.token_dataset import TokenDataset

    lengths = made.lognormal_lengths(num_rows, sigma=0.8)
    ids, offsets = made.ragged(lengths)
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    if labels == "classes":
        columns["labels"] = rng.integers(0, 2, num_rows)
    if labels == "tags":
        tags = rng.integers(0, 9, len(ids)).astype(np.int32)
        columns["labels"] = RaggedColumn(tags, offsets.astype(np.int64))
    inputs = ("input_ids", "attention_mask")
    return TokenDataset(ids, offsets, columns=columns, model_inputs=inputs)


def collators(name: str) -> tuple[Any, Any]:
    """Ours, and that of transformers."""
    import transformers

    import fastft

    kind, _, options, _ = KINDS[name]
    arguments = () if kind == "WithFlattening" else (made.word_tokenizer(),)
    one, other = (getattr(home, f"DataCollator{kind}") for home in (fastft, transformers))
    return one(*arguments, **options), other(*arguments, **options)


def same(found: Any, expected: Any, *, masked: bool = False) -> None:
    """Demands that two batches are equal; masks, which are drawn otherwise, by their shapes."""
    import torch

    demand(list(found) == list(expected), f"keys {list(found)}, not {list(expected)}")
    for key, value in expected.items():
        other = found[key]
        if not isinstance(value, torch.Tensor):
            demand(other == value, f"{key} differs")
            continue
        demand(other.dtype == value.dtype and other.shape == value.shape, f"{key}: another shape")
        demand(masked or torch.equal(other, value), f"{key} differs")


def copies(batch: Any) -> Callable[[], Any]:
    """Copies the arrays of a batch: nothing makes it with fewer bytes written."""
    import torch

    arrays = [one.numpy() for one in batch.values() if isinstance(one, torch.Tensor)]
    return lambda: [array.copy() for array in arrays]


def _cases(context: Context, *, name: str) -> Iterable[Case]:
    data = token_data(KINDS[name][1])
    collate, stock = collators(name)
    rng = np.random.default_rng(0)
    order = [rng.permutation(NUM_ROWS)[:BATCH] for _ in range(64)]
    listed, turn = [data[row] for row in range(len(data))], itertools.cycle(order)

    def check() -> str:
        demand(collate.why_not_rust(data) is None, f"not by Rust: {collate.why_not_rust(data)}")
        for rows_of_batch in order[:8]:
            expected = stock([data[int(row)] for row in rows_of_batch])
            same(collate(data.__getitems__(rows_of_batch)), expected, masked=name == "masked-lm")
        return "keys and shapes of 8 batches equal" if name == "masked-lm" else "8 batches equal"

    yield Case(
        [
            ours(lambda: collate(data.__getitems__(next(turn)))),
            Variant("transformers", lambda: stock([listed[row] for row in next(turn)])),
            limit("copy", copies(collate(data.__getitems__(order[0])))),
        ],
        check,
        BATCH,
        "rows",
    )
