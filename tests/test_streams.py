"""A stream of batches is that of torch's loader with the stock collator, for any rows and settings.

The one side is `fastft.DataLoader` over a `TokenDataset`, with threads or without; the other is
torch's, over the same rows as dicts. Same seed, same keys, same types, same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from tests.test_collator import tokenizer_with

pytestmark = pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy")

TOKENIZERS = {side: tokenizer_with(padding_side=side) for side in ("right", "left")}
KINDS = ("padding", "floats", "causal", "seq2seq", "tokens", "flattened")


def rows_of(kind: str, lengths: list[int], dtype: Any) -> TokenDataset:
    generator = np.random.default_rng(sum(lengths))
    ids = generator.integers(5, 35, sum(lengths)).astype(dtype)
    offsets = np.cumsum([0, *lengths])
    columns: dict[str, Any] = {}
    if kind == "padding":
        columns = {"label": generator.integers(0, 9, len(lengths))}
    if kind == "floats":
        columns = {"labels": generator.normal(size=(len(lengths), 2)).astype(np.float32)}
    if kind in ("seq2seq", "tokens"):
        same = kind == "tokens"
        runs = lengths if same else generator.integers(1, 6, len(lengths)).tolist()
        labels = [generator.integers(0, 9, length) for length in runs]
        columns = {"labels": RaggedColumn.from_rows(labels)}
    return TokenDataset.from_ragged(ids, offsets, columns=columns)


def collators(kind: str, side: str, multiple: int | None) -> tuple[Any, Any]:
    hf = TOKENIZERS[side]
    ours, stock = {
        "padding": (DataCollatorWithPadding, transformers.DataCollatorWithPadding),
        "floats": (DataCollatorWithPadding, transformers.DataCollatorWithPadding),
        "causal": (DataCollatorForLanguageModeling, transformers.DataCollatorForLanguageModeling),
        "seq2seq": (DataCollatorForSeq2Seq, transformers.DataCollatorForSeq2Seq),
        "tokens": (
            DataCollatorForTokenClassification,
            transformers.DataCollatorForTokenClassification,
        ),
        "flattened": (DataCollatorWithFlattening, transformers.DataCollatorWithFlattening),
    }[kind]
    if kind == "flattened":
        return ours(return_flash_attn_kwargs=True), stock(return_flash_attn_kwargs=True)
    options: dict[str, Any] = {"mlm": False} if kind == "causal" else {}
    options["pad_to_multiple_of"] = multiple
    return ours(hf, **options), stock(hf, **options)


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """The same rows, as dicts of Python numbers."""

    def __init__(self, dataset: TokenDataset) -> None:
        self.rows = [dataset[row] for row in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, list) else v for name, v in self.rows[row].items()}


@pytest.mark.floor
@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=17),
    batch_size=st.integers(1, 20),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    side=st.sampled_from(["right", "left"]),
    multiple=st.sampled_from([None, None, 1, 8]),
    dtype=st.sampled_from([np.uint16, np.int32, np.int64]),
    threads=st.sampled_from([0, 0, 1, 3]),
    seed=st.integers(0, 2**31),
)
def test_batches_are_those_of_the_stock_loader(
    kind: str, lengths: list[int], batch_size: int, shuffle: bool, drop_last: bool, side: str,
    multiple: int | None, dtype: Any, threads: int, seed: int,
) -> None:  # fmt: skip
    dataset = rows_of(kind, lengths, dtype)
    ours, stock = collators(kind, side, multiple)
    how = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    loader = DataLoader(dataset, collate_fn=ours, num_workers=threads, **how)  # type: ignore[arg-type]
    assert loader.explain().startswith("rust"), loader.explain()
    expected = torch.utils.data.DataLoader(Rows(dataset), collate_fn=stock, **how)  # type: ignore[arg-type]
    assert len(loader) == len(expected)
    outcomes = []
    for one in (loader, expected):
        torch.manual_seed(seed)
        outcomes.append([[*one], [*one], torch.rand(1)])  # two epochs, and what is drawn later
    for epoch in (0, 1):
        assert_same(outcomes[0][epoch], outcomes[1][epoch])
    assert outcomes[0][2] == outcomes[1][2]


def assert_same(batches: list[Any], others: list[Any]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert list(batch) == list(other)
        for name, value in other.items():
            if isinstance(value, torch.Tensor):
                assert batch[name].dtype == value.dtype, name
                assert torch.equal(batch[name], value), name
            else:
                assert batch[name] == value


@pytest.mark.parametrize("lengths", [[0], [0, 0], [0, 3], [3, 0, 0, 1]])
@pytest.mark.parametrize("kind", ["padding", "causal"])
def test_rows_without_tokens_go_the_stock_way(kind: str, lengths: list[int]) -> None:
    dataset = rows_of(kind, lengths, np.uint16)
    ours, stock = collators(kind, "right", None)
    batches = [*DataLoader(dataset, 2, collate_fn=ours)]
    assert_same(batches, [*torch.utils.data.DataLoader(Rows(dataset), 2, collate_fn=stock)])
