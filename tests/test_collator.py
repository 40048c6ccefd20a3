"""A batch made in Rust is bit for bit the batch of the stock collator."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils import PaddingStrategy

import fastft
from fastft.data.collator import DataCollatorWithPadding, FixedWidthCollator
from fastft.data.token_dataset import TokenDataset
from fastft.data.type_ids import TypeIds
from tests.tiny import sentences, tiny_tokenizer

HF = tiny_tokenizer()


def tokenizer_with(**settings: Any) -> Any:
    hf = copy.deepcopy(HF)
    for name, value in settings.items():
        setattr(hf, name, value)
    return hf


@pytest.fixture(scope="module")
def dataset() -> TokenDataset:
    texts, labels = zip(*sentences(40), strict=True)
    columns = {"label": [int(label == "positive") for label in labels], "idx": range(40)}
    return TokenDataset.from_texts(texts, HF, text_pair=texts[::-1], columns=columns)


def assert_same(ours: Any, stock: Any) -> None:
    assert isinstance(ours, type(stock))
    assert list(ours) == list(stock)
    for name, expected in stock.items():
        assert isinstance(ours[name], torch.Tensor)
        assert ours[name].dtype == expected.dtype, name
        assert ours[name].shape == expected.shape, name
        assert torch.equal(ours[name], expected), name


def assert_parity(dataset: TokenDataset, rows: list[int], hf: Any, **options: Any) -> None:
    collator = DataCollatorWithPadding(hf, **options)
    batch = dataset.__getitems__(rows)
    assert collator.why_not_rust(batch) is None
    ours = collator(batch)
    assert batch.is_untouched
    assert_same(
        ours, transformers.DataCollatorWithPadding(hf, **options)([dataset[r] for r in rows])
    )


def row_lists(limit: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.integers(0, limit), min_size=1, max_size=9), min_size=1, max_size=6)


def type_ids_of(kind: str, rows: list[list[int]]) -> TypeIds:
    if kind == "starts":
        return TypeIds(np.array([len(row) // 2 for row in rows], np.uint32))
    if kind == "flat":
        return TypeIds(flat=np.array([token % 3 for row in rows for token in row], np.uint8))
    return TypeIds()


@settings(max_examples=150)
@given(
    rows=row_lists(60_000) | row_lists(200_000),
    side=st.sampled_from(["left", "right"]),
    multiple=st.sampled_from([None, 1, 4, 8]),
    kind=st.sampled_from(["zero", "starts", "flat", "none"]),
    label=st.sampled_from(["labels", "label", "label_ids", None]),
    floats=st.booleans(),
    pad_token_type_id=st.integers(0, 3),
    data=st.data(),
)
def test_parity(
    rows: list[list[int]],
    side: str,
    multiple: int | None,
    kind: str,
    label: str | None,
    floats: bool,
    pad_token_type_id: int,
    data: st.DataObject,
) -> None:
    flat = np.array([token for row in rows for token in row])
    ids = flat.astype(np.uint16 if flat.max() < 2**16 else np.uint32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.uint64)
    values = np.linspace(-1, 1, len(rows)) if floats else np.arange(len(rows)) - 1
    names = ["input_ids", "token_type_ids", "attention_mask"]
    dataset = TokenDataset(
        ids,
        offsets,
        type_ids_of(kind, rows),
        columns={} if label is None else {label: values, "idx": np.arange(len(rows))},
        model_inputs=[name for name in names if (kind, name) != ("none", "token_type_ids")],
    )
    hf = tokenizer_with(padding_side=side)
    hf._pad_token_type_id = pad_token_type_id
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    assert_parity(dataset, picks, hf, pad_to_multiple_of=multiple)


@pytest.mark.parametrize("padding", [True, "longest", PaddingStrategy.LONGEST])
def test_padding_to_the_longest(dataset: TokenDataset, padding: Any) -> None:
    assert_parity(dataset, [3, 1, 4, 1, 5], HF, padding=padding)


@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("padding", ["max_length", PaddingStrategy.MAX_LENGTH])
def test_padding_to_a_width(dataset: TokenDataset, padding: Any, multiple: int | None) -> None:
    options = {"padding": padding, "max_length": 60, "pad_to_multiple_of": multiple}
    assert_parity(dataset, [3, 1, 4], HF, **options)


def test_columns_of_vectors(dataset: TokenDataset) -> None:
    arrays = {"ids": dataset.ids, "row_offsets": dataset.row_offsets}
    labels = np.random.default_rng(0).random((40, 3))
    several = TokenDataset(*arrays.values(), columns={"labels": labels})
    assert_parity(several, [0, 7, 3], HF)


def test_floats_take_torchs_default_type(dataset: TokenDataset) -> None:
    scores = TokenDataset(dataset.ids, dataset.row_offsets, columns={"labels": np.full(40, 0.1)})
    torch.set_default_dtype(torch.float64)
    try:
        assert_parity(scores, [0, 1], HF)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_fastft_tokenizer_will_do(dataset: TokenDataset) -> None:
    collator = DataCollatorWithPadding(fastft.Tokenizer.from_hf(HF))
    assert collator.tokenizer is HF
    assert collator(dataset.__getitems__([0, 1]))["input_ids"].dtype == torch.int64


def test_it_is_a_stock_collator_with_the_same_fields() -> None:
    collator = DataCollatorWithPadding(HF, True, 9, 8, "pt")
    assert isinstance(collator, transformers.DataCollatorWithPadding)
    assert (collator.padding, collator.max_length, collator.pad_to_multiple_of) == (True, 9, 8)


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ({}, {"return_tensors": "np"}, "return_tensors='np'"),
        ({"padding_side": "left"}, {"return_tensors": "np"}, "return_tensors='np'"),
        ({}, {"padding": "max_length"}, "left to stock"),
        ({"model_input_names": ["input_ids"]}, {}, "attention mask"),
    ],
)
def test_what_rust_does_not_know_goes_the_stock_way(
    dataset: TokenDataset, change: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    hf = tokenizer_with(**change)
    rows = [index for index in range(40) if dataset.lengths[index] == dataset.lengths[0]]
    ours, stock = DataCollatorWithPadding(hf, **options), transformers.DataCollatorWithPadding
    assert reason in str(ours.why_not_rust(dataset))
    expected = stock(hf, **options)([dataset[row] for row in rows])
    found = ours(dataset.__getitems__(rows))
    assert list(found) == list(expected)
    for name in expected:
        assert np.array_equal(np.asarray(found[name]), np.asarray(expected[name]))


def test_no_padding_fails_as_the_stock_collator_does(dataset: TokenDataset) -> None:
    rows = [int(dataset.lengths.argmin()), int(dataset.lengths.argmax())]
    for collator in (DataCollatorWithPadding, transformers.DataCollatorWithPadding):
        with pytest.raises(ValueError, match="Unable to create tensor"):
            collator(HF, padding=False)(dataset.__getitems__(rows))


def test_rows_longer_than_the_width_fail_as_in_the_stock_collator(dataset: TokenDataset) -> None:
    rows = [int(dataset.lengths.argmin()), int(dataset.lengths.argmax())]
    for collator in (DataCollatorWithPadding, transformers.DataCollatorWithPadding):
        with pytest.raises(ValueError, match="Unable to create tensor"):
            collator(HF, padding="max_length", max_length=8)(dataset.__getitems__(rows))


def test_what_is_changed_between_two_batches_is_seen(dataset: TokenDataset) -> None:
    hf = tokenizer_with()
    ours, stock = DataCollatorWithPadding(hf), transformers.DataCollatorWithPadding(hf)
    changes: list[tuple[Any, str, Any]] = [
        (hf, "pad_token", hf.sep_token),
        (hf, "padding_side", "left"),
        (hf, "_pad_token_type_id", 3),
        (ours, "pad_to_multiple_of", 7),
    ]
    rows = [3, 1, 4]
    ours(dataset.__getitems__(rows))
    for changed, name, value in changes:
        setattr(changed, name, value)
        stock.pad_to_multiple_of = ours.pad_to_multiple_of
        expected = stock([dataset[row] for row in rows])
        assert_same(ours(dataset.__getitems__(rows)), expected)


@pytest.mark.parametrize(
    "rows",
    [
        [-1, 0, -40],
        np.arange(40)[::7],
        np.array([5, 2], np.uint8),
        np.array([3, -2], ">i4"),
        (4, 9),
    ],
)
def test_rows_may_be_named_in_many_ways(dataset: TokenDataset, rows: Any) -> None:
    batch = dataset.__getitems__(rows)
    named = [int(row) % 40 for row in rows]
    assert batch.indices.tolist() == named
    assert batch.longest == max(dataset.lengths[row] for row in named)
    stock = transformers.DataCollatorWithPadding(HF)([dataset[row] for row in named])
    assert_same(DataCollatorWithPadding(HF)(batch), stock)
    assert batch.is_untouched


def test_without_a_pad_token_it_fails_as_the_stock_collator_does(dataset: TokenDataset) -> None:
    hf = tokenizer_with(pad_token=None)
    assert DataCollatorWithPadding(hf).why_not_rust(dataset) == "the tokenizer has no pad token"
    for collator in (DataCollatorWithPadding, transformers.DataCollatorWithPadding):
        with pytest.raises(ValueError, match="pad"):
            collator(hf)(dataset.__getitems__([0, 1]))


def test_a_tokenizer_that_pads_in_its_own_way_is_asked(dataset: TokenDataset) -> None:
    class Own(type(HF)):  # type: ignore[misc]
        def _pad(self, *args: Any, **kwargs: Any) -> Any:
            padded = super()._pad(*args, **kwargs)
            return {**padded, "input_ids": [token + 1 for token in padded["input_ids"]]}

    hf = tokenizer_with(__class__=Own)
    collator = DataCollatorWithPadding(hf)
    assert collator.why_not_rust(dataset) == "Own pads in its own way"
    expected = transformers.DataCollatorWithPadding(hf)([dataset[0], dataset[1]])
    assert_same(collator(dataset.__getitems__([0, 1])), expected)


def test_lists_of_dicts_work_as_ever(dataset: TokenDataset) -> None:
    rows = [dataset[0], dataset[1]]
    expected = transformers.DataCollatorWithPadding(HF)(copy.deepcopy(rows))
    assert_same(DataCollatorWithPadding(HF)(rows), expected)


def test_a_batch_that_was_changed_is_taken_as_changed(dataset: TokenDataset) -> None:
    batch = dataset.__getitems__([0, 1])
    for row in batch:
        del row["idx"]
    assert "idx" not in DataCollatorWithPadding(HF)(batch)


def test_a_user_may_write_into_a_batch(dataset: TokenDataset) -> None:
    batch = DataCollatorWithPadding(HF)(dataset.__getitems__([0, 1]))
    before = dataset[0]
    for tensor in batch.values():
        tensor.fill_(3)
    assert dataset[0] == before


def test_one_width_for_every_batch_is_that_of_the_longest_row(dataset):
    collate = FixedWidthCollator(HF)
    width = int(dataset.lengths.max())
    stock = transformers.DataCollatorWithPadding(HF, padding="max_length", max_length=width)
    for rows in ([0], [3, 1, 4]):
        assert_same(collate(dataset.__getitems__(rows)), stock([dataset[row] for row in rows]))
    other = TokenDataset.from_texts(["the film"], HF)
    assert collate(other.__getitems__([0]))["input_ids"].shape == (1, other.lengths[0])
    assert collate(dataset.__getitems__([0]))["input_ids"].shape == (1, width)
    elsewhere = pickle.loads(pickle.dumps(collate))
    assert elsewhere(other.__getitems__([0]))["input_ids"].shape == (1, other.lengths[0])
