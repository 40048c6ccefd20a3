"""Rows that are tokens already: the batches of the stock loader, arrays in place, faults named."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from torch.utils.data import DataLoader as TorchDataLoader

import fastft
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from tests.tiny import sentences, tiny_tokenizer

HF = tiny_tokenizer()


def mapped(num_rows: int = 40) -> Any:
    """What a script with `datasets.map` ends up with."""
    texts, names = zip(*sentences(num_rows), strict=True)
    raw = datasets.Dataset.from_dict({"text": texts, "label": [len(name) for name in names]})
    tokens = raw.map(lambda part: HF(part["text"], part["text"]), batched=True, batch_size=7)
    return tokens.remove_columns(["text"])


@pytest.mark.parametrize("select", [False, True])
def test_batches_are_those_of_the_stock_loader(select: bool) -> None:
    stock = mapped().select([7, 3, 3, 30, 1, 0, 39]) if select else mapped()
    ours = TokenDataset.from_dataset(stock)
    expected = TorchDataLoader(stock, 3, collate_fn=transformers.DataCollatorWithPadding(HF))
    loader = DataLoader(ours, 3, collate_fn=DataCollatorWithPadding(HF))
    assert loader.explain().startswith("rust")
    for batch, other in zip(loader, expected, strict=True):
        assert set(batch) == set(other)
        for name in other:
            assert batch[name].dtype == other[name].dtype
            assert torch.equal(batch[name], other[name]), name
    assert [ours[row] for row in range(len(ours))] == [
        {name: row.get(name, row.get("label")) for name in ours[0]} for row in stock
    ]


@pytest.mark.parametrize("type_", [pa.int32(), pa.uint32(), pa.uint16()])
def test_ids_in_one_chunk_stay_where_they_are(type_: Any) -> None:
    table = pa.table({"input_ids": pa.array([[1], [2, 3], [], [4, 5, 6]], pa.list_(type_))})
    dataset = TokenDataset.from_table(table)
    buffer = table.column("input_ids").chunk(0).values.buffers()[1]
    assert dataset.ids.ctypes.data == buffer.address
    part = TokenDataset.from_table(table.slice(1, 3))
    assert part.lengths.tolist() == [2, 0, 3]
    assert part.ids.tolist() == [2, 3, 4, 5, 6]
    assert part.ids.ctypes.data == buffer.address + part.ids.itemsize


def test_wide_ids_and_chunks_are_copied_once() -> None:
    wide = pa.chunked_array([pa.array([[1, 70_000]]), pa.array([[3], []])])
    dataset = TokenDataset.from_table(pa.table({"input_ids": wide}))
    assert (dataset.ids.dtype, dataset.ids.tolist()) == (np.uint32, [1, 70_000, 3])
    small = TokenDataset.from_table(pa.table({"input_ids": [[1, 2], [3]]}))
    assert small.ids.dtype == np.uint16
    none = pa.table({"input_ids": pa.chunked_array([], pa.list_(pa.int32()))})
    assert len(TokenDataset.from_table(none)) == 0


def test_labels_of_tokens_come_along() -> None:
    table = pa.table(
        {"input_ids": [[5, 6, 7], [8]], "labels": [[0, -100, 1], [2]], "weight": [0.5, 2.0]}
    )
    dataset = TokenDataset.from_table(table, vocab_size=9)
    batch = next(iter(DataLoader(dataset, 2, collate_fn=DataCollatorForTokenClassification(HF))))
    assert batch["labels"].tolist() == [[0, -100, 1], [2, -100, -100]]
    assert batch["weight"].tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ids": [[1]]}, r"has a column input_ids(.|\n)*found:    ids"),
        ({"input_ids": [1, 2]}, r"'input_ids'(.|\n)*int64"),
        ({"input_ids": [["a"]]}, r"'input_ids'(.|\n)*string"),
        ({"input_ids": [[0.5]]}, r"'input_ids'(.|\n)*double"),
        ({"input_ids": [[1], None]}, "input_ids, row 1"),
        ({"input_ids": [[1, None]]}, "a list holds null"),
        ({"input_ids": [[1], [-2]]}, r"out of range(.|\n)*-2"),
        ({"input_ids": pa.array([[1], [-2]], pa.list_(pa.int32()))}, r"out of range(.|\n)*-2"),
        ({"input_ids": [[2**32]]}, r"out of range(.|\n)*4294967296"),
        ({"input_ids": [[1, 2], [3, 0]], "attention_mask": [[1, 1], [1, 0]]},
         r"row 1: a row holds padding(.|\n)*0 at token 1(.|\n)*padding=False"),
        ({"input_ids": [[1, 2], [3]], "attention_mask": [[1, 1], [1, 1]]},
         r"row 1: attention_mask and input_ids differ(.|\n)*2 and 1"),
        ({"input_ids": [[1]], "token_type_ids": [[256]]}, r"token type id is out of range"),
        ({"input_ids": [[1]], "text": ["a"]}, r"'text'(.|\n)*remove_columns\(\['text'\]\)"),
        ({"input_ids": [[1]], "labels": [[2**40]]}, r"'labels'(.|\n)*1099511627776"),
        ({"input_ids": [[1]], "label": pa.array([None], pa.int64())}, "label, row 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(fastft.Error, match=message):
        TokenDataset.from_table(pa.table(columns))


def test_an_id_beyond_the_vocabulary_is_named_with_its_row() -> None:
    with pytest.raises(fastft.DataError, match="row 1"):
        TokenDataset.from_table(pa.table({"input_ids": [[1], [2, 9]]}), vocab_size=9)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(fastft.DataError, match=r"no table(.|\n)*list"):
        TokenDataset.from_table([[1, 2]])
