"""A loader that is given a tokenised dataset of Hugging Face, or arrays: the stock batches."""

from __future__ import annotations

import pickle
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from torch.utils.data import DataLoader as TorchDataLoader

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ColumnError, DataError
from tests.tiny import sentences, tiny_tokenizer

HF = tiny_tokenizer()

COLLATORS: dict[str, Any] = {
    "padding": (DataCollatorWithPadding(HF), transformers.DataCollatorWithPadding(HF)),
    "causal": (
        DataCollatorForLanguageModeling(HF, mlm=False),
        transformers.DataCollatorForLanguageModeling(HF, mlm=False),
    ),
    "seq2seq": (DataCollatorForSeq2Seq(HF), transformers.DataCollatorForSeq2Seq(HF)),
    "tokens": (
        DataCollatorForTokenClassification(HF),
        transformers.DataCollatorForTokenClassification(HF),
    ),
}


def mapped(num_rows: int = 40, **columns: Any) -> Any:
    """What a script with `datasets.map` ends up with."""
    texts, _ = zip(*sentences(num_rows), strict=True)
    raw = datasets.Dataset.from_dict({"text": texts, **columns})
    tokens = raw.map(lambda part: HF(part["text"]), batched=True, batch_size=7)
    return tokens.remove_columns(["text"])


def labelled(kind: str) -> Any:
    if kind == "causal":
        return mapped()
    if kind in ("seq2seq", "tokens"):
        return mapped().map(lambda row: {"labels": [7] * len(row["input_ids"])})
    return mapped(label=[row % 3 for row in range(40)])


def assert_stock_batches(loader: DataLoader[Any], stock: TorchDataLoader[Any]) -> None:
    assert loader.explain().startswith("rust"), loader.explain()
    torch.manual_seed(3)
    batches = list(loader)
    torch.manual_seed(3)
    others = list(stock)
    assert len(batches) == len(others) > 1
    for batch, other in zip(batches, others, strict=True):
        assert set(batch) == set(other)
        for name in other:
            assert batch[name].dtype == other[name].dtype
            assert torch.equal(batch[name], other[name]), name


@pytest.mark.floor
@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy")  # the stock collator
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("format_", [None, "torch", "numpy"])
@pytest.mark.parametrize("kind", COLLATORS)
def test_batches_are_those_of_the_stock_loader(kind: str, format_: Any, num_workers: int) -> None:
    dataset = labelled(kind).with_format(format_)
    ours, theirs = COLLATORS[kind]
    assert_stock_batches(
        DataLoader(dataset, 3, shuffle=True, collate_fn=ours, num_workers=num_workers),
        TorchDataLoader(dataset, 3, shuffle=True, collate_fn=theirs),
    )


def test_a_subset_and_a_selection_are_seen() -> None:
    dataset = labelled("padding").select([7, 3, 3, 30, 1, 0, 39])
    part = torch.utils.data.Subset(torch.utils.data.Subset(dataset, [6, 5, 4, 0, 1]), [4, 0, 2, 2])
    ours, theirs = COLLATORS["padding"]
    for rows in (dataset, part):
        assert_stock_batches(
            DataLoader(rows, 2, collate_fn=ours), TorchDataLoader(rows, 2, collate_fn=theirs)
        )


def test_columns_that_are_hidden_stay_hidden() -> None:
    dataset = mapped(label=[0] * 40, text_length=["long"] * 40)
    ours, theirs = COLLATORS["padding"]
    loader = DataLoader(dataset, 4, collate_fn=ours)
    assert "text_length" in loader.explain()
    dataset.set_format(columns=["input_ids", "attention_mask", "label"])
    assert_stock_batches(loader, TorchDataLoader(dataset, 4, collate_fn=theirs))
    assert set(next(iter(loader))) == {"input_ids", "attention_mask", "labels"}


@pytest.mark.parametrize(
    ("columns", "format_", "word"),
    [
        ({"flag": [True, False] * 20}, None, "booleans"),
        ({"score": [0.1] * 40}, "numpy", "floats"),
        ({"label": [None, *[1] * 39]}, None, "missing"),
        ({}, "pandas", "pandas"),
    ],
)
def test_what_a_view_cannot_give_goes_torchs_way(
    columns: dict[str, Any], format_: Any, word: str
) -> None:
    dataset = mapped(**columns).with_format(format_)
    loader = DataLoader(dataset, 4, collate_fn=COLLATORS["padding"][0])
    assert loader.explain().startswith("torch") and word in loader.explain()


def test_a_transform_of_the_users_own_is_applied() -> None:
    def shortened(rows: dict[str, Any]) -> dict[str, Any]:
        return {"input_ids": [ids[:2] for ids in rows["input_ids"]]}

    dataset = mapped().with_transform(shortened)
    loader = DataLoader(dataset, 4, collate_fn=COLLATORS["padding"][0])
    assert "custom" in loader.explain()
    assert next(iter(loader))["input_ids"].shape == (4, 2)


def test_floats_are_as_exact_as_torchs() -> None:
    dataset = mapped(score=[0.1 + row for row in range(40)])
    ours, theirs = COLLATORS["padding"]
    assert_stock_batches(
        DataLoader(dataset, 4, collate_fn=ours), TorchDataLoader(dataset, 4, collate_fn=theirs)
    )
    torch.set_default_dtype(torch.float64)
    try:
        assert "floats" in DataLoader(dataset, 4, collate_fn=ours).explain()
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_dataset_of_the_loader_stays_the_users_own() -> None:
    dataset = labelled("padding")
    loader = DataLoader(dataset, 4, collate_fn=COLLATORS["padding"][0])
    list(loader)
    assert loader.dataset is dataset
    assert len(list(pickle.loads(pickle.dumps(loader)))) == 10


def test_a_state_knows_the_rows() -> None:
    ours = COLLATORS["padding"][0]
    loader = DataLoader(labelled("padding"), 4, shuffle=True, collate_fn=ours)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    again = DataLoader(labelled("padding"), 4, shuffle=True, collate_fn=ours)
    again.load_state_dict(state)
    for batch, other in zip(again, batches, strict=True):
        assert torch.equal(batch["input_ids"], other["input_ids"])
    changed = labelled("padding").map(lambda row: {"input_ids": [*row["input_ids"][:-1], 9]})
    with pytest.raises(DataError, match="another dataset"):
        DataLoader(changed, 4, shuffle=True, collate_fn=ours).load_state_dict(state)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint8])
def test_ragged_arrays_are_rows(dtype: Any) -> None:
    ids = np.array([5, 6, 7, 8], dtype)
    labels = RaggedColumn.from_rows([[1], [], [2, 3]])
    dataset = TokenDataset.from_ragged(ids, [0, 1, 1, 4], columns={"labels": labels})
    assert [row["input_ids"] for row in dataset] == [[5], [], [6, 7, 8]]  # type: ignore[attr-defined]
    assert dataset[2] == {"input_ids": [6, 7, 8], "attention_mask": [1, 1, 1], "labels": [2, 3]}
    is_in_place = np.shares_memory(dataset.ids, ids)
    assert is_in_place == (dtype not in (np.int64, np.uint8))


@pytest.mark.parametrize(
    ("ids", "offsets", "word"),
    [
        ([[1, 2], [3]], [0, 2, 3], "flat array"),
        (np.ones((2, 2), int), [0, 2, 4], "shape"),
        ([0.5, 1.0], [0, 2], "whole numbers"),
        ([1, -2], [0, 2], "out of range"),
        ([1, 2**32], [0, 2], "out of range"),
        ([1, 2], [0, -1, 2], "whole numbers from 0"),
        ([1, 2], [0.0, 2.0], "whole numbers from 0"),
        ([1, 2], [0, 3], "offset|row"),
        ([1, 2], [1, 2], "offset|row"),
        ([1, 2], [0, 2, 1], "offset|row"),
        ([1, 2], [], "offset|row"),
        (["a", "b"], [0, 2], "whole numbers"),
    ],
)
def test_arrays_that_make_no_rows_are_refused(ids: Any, offsets: Any, word: str) -> None:
    with pytest.raises(DataError, match=word):
        TokenDataset.from_ragged(ids, offsets)


def test_no_rows_are_rows() -> None:
    assert len(TokenDataset.from_ragged([], [0])) == 0
    assert len(TokenDataset.from_ragged(torch.tensor([], dtype=torch.int64), [0, 0])) == 1
    with pytest.raises(ColumnError):
        TokenDataset.from_ragged([1], [0, 1], columns={"labels": [1, 2]})
