"""Labels of tokens and flattened batches: bit for bit those of the stock collators."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import fastft
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from tests.test_collator import assert_same, tokenizer_with
from tests.tiny import tiny_tokenizer

HF = tiny_tokenizer()


def dataset_of(
    rows: list[list[int]], tags: list[list[int]] | None, name: str = "labels", **columns: Any
) -> TokenDataset:
    flat = np.array([token for row in rows for token in row], np.int64)
    ids = flat.astype(np.uint16 if flat.max(initial=0) < 2**16 else np.uint32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.uint64)
    if tags is not None:
        columns = {name: RaggedColumn.from_rows(tags), **columns}
    return TokenDataset(ids, offsets, columns=columns)


@st.composite
def labelled_rows(draw: st.DrawFn, *, beside: bool) -> tuple[list[list[int]], list[list[int]]]:
    limit = draw(st.sampled_from([60_000, 200_000]))
    tokens = st.lists(st.integers(0, limit), max_size=9)
    rows = draw(st.lists(tokens, min_size=1, max_size=6))
    label = st.integers(-100, 9)
    sizes = [len(row) if beside else draw(st.integers(0, 7)) for row in rows]
    return rows, [draw(st.lists(label, min_size=n, max_size=n)) for n in sizes]


SIDES = st.sampled_from(["left", "right"])
MULTIPLES = st.sampled_from([None, 1, 4, 8])


def assert_stock_result(ours: Any, stock: Any, dataset: TokenDataset, picks: list[int]) -> None:
    """The same batch in Rust, or the same exception."""
    batch = dataset.__getitems__(picks)
    try:
        expected = stock([dataset[row] for row in picks])
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        with pytest.raises(type(error)):
            ours(batch)
        return
    in_rust = ours.why_not_rust(batch) is None
    assert in_rust == bool(max(dataset.lengths[row] for row in picks)), ours.why_not_rust(batch)
    found = ours(batch)
    assert batch.is_untouched == in_rust
    assert_same_values(found, expected)


def assert_same_values(ours: Any, stock: Any) -> None:
    assert list(ours) == list(stock)
    tensors = {name: value for name, value in stock.items() if isinstance(value, torch.Tensor)}
    assert_same({name: ours[name] for name in tensors}, tensors)
    assert isinstance(ours, type(stock))
    for name in stock.keys() - tensors.keys():
        assert (type(ours[name]), ours[name]) == (type(stock[name]), stock[name])


@settings(max_examples=100)
@given(
    labelled_rows(beside=True), SIDES, MULTIPLES, st.sampled_from(["label", "labels"]),
    st.sampled_from([-100, 0, 7]), st.sampled_from([True, "max_length"]), st.data(),
)  # fmt: skip
def test_token_classification_parity(
    drawn: Any, side: str, multiple: int | None, name: str, pad: int, padding: Any, data: Any
) -> None:
    rows, labels = drawn
    dataset = dataset_of(rows, labels, name, idx=np.arange(len(rows)))
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    options = {
        "padding": padding, "max_length": None if padding is True else 11,
        "pad_to_multiple_of": multiple, "label_pad_token_id": pad,
    }  # fmt: skip
    hf = tokenizer_with(padding_side=side)
    stock = transformers.DataCollatorForTokenClassification(hf, **options)
    ours = DataCollatorForTokenClassification(hf, **options)
    assert_stock_result(ours, stock, dataset, picks)


@settings(max_examples=60)
@given(labelled_rows(beside=False), SIDES, MULTIPLES, st.sampled_from([-100, 0]), st.data())
def test_seq2seq_parity(drawn: Any, side: str, multiple: int | None, pad: int, data: Any) -> None:
    rows, labels = drawn
    dataset = dataset_of(rows, labels)
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    hf = tokenizer_with(padding_side=side)
    options = {"pad_to_multiple_of": multiple, "label_pad_token_id": pad}
    stock = transformers.DataCollatorForSeq2Seq(hf, **options)
    assert_stock_result(DataCollatorForSeq2Seq(hf, **options), stock, dataset, picks)


@settings(max_examples=100)
@given(
    labelled_rows(beside=True), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([-100, 5]), st.sampled_from([0, 2]), st.data(),
)  # fmt: skip
def test_flattening_parity(
    drawn: Any, with_labels: bool, positions: bool, kwargs: bool, seq_idx: bool, separator: int,
    start: int, data: Any,
) -> None:  # fmt: skip
    rows, labels = drawn
    dataset = dataset_of(rows, labels if with_labels else None, idx=np.arange(len(rows)))
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    options = {
        "return_position_ids": positions, "separator_id": separator, "return_seq_idx": seq_idx,
        "return_flash_attn_kwargs": kwargs, "position_ids_start": start,
    }  # fmt: skip
    stock = transformers.DataCollatorWithFlattening(**options)
    assert_stock_result(DataCollatorWithFlattening(**options), stock, dataset, picks)


ROWS = [[5, 6, 7], [8], [9, 10]]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"labels": [1, 2, 3]}, "no label for each token"),
        ({"labels": RaggedColumn.from_rows([[1], [1, 1], [1]])}, "row 1 has more labels"),
        ({"other": RaggedColumn.from_rows([[1], [1], [1]])}, "column 'other' differ in length"),
        (
            {"label": RaggedColumn.from_rows(ROWS), "labels": [1, 2, 3]},
            "columns 'label' and 'labels'",
        ),
    ],
)
def test_labels_that_are_no_labels_of_tokens_go_the_stock_way(columns, reason):
    dataset = dataset_of(ROWS, None, **columns)
    ours = DataCollatorForTokenClassification(HF)
    assert reason in ours.why_not_rust(dataset)
    stock = transformers.DataCollatorForTokenClassification(HF)
    try:
        expected = stock([dataset[0], dataset[2]])
    except (ValueError, TypeError) as error:
        with pytest.raises(type(error)):
            ours(dataset.__getitems__([0, 2]))
    else:
        assert_same(ours(dataset.__getitems__([0, 2])), expected)


def test_without_labels_a_batch_has_none():
    dataset = dataset_of(ROWS, None)
    ours = DataCollatorForTokenClassification(fastft.Tokenizer.from_hf(HF))
    batch = ours(dataset.__getitems__([0, 1]))
    stock = transformers.DataCollatorForTokenClassification(HF)
    assert_same(batch, stock([dataset[0], dataset[1]]))
    assert ours.why_not_rust(dataset) is None
    assert batch.loss_index is None


@pytest.mark.parametrize("stock_class", ["TokenClassification", "Flattening"])
def test_numpy_and_lists_of_dicts_go_the_stock_way(stock_class):
    dataset = dataset_of(ROWS, ROWS)
    if stock_class == "Flattening":
        ours, stock = DataCollatorWithFlattening(), transformers.DataCollatorWithFlattening()
    else:
        ours = DataCollatorForTokenClassification(HF)
        stock = transformers.DataCollatorForTokenClassification(HF)
    dicts = [dataset[0], dataset[1], dataset[0]]
    assert_same_values(ours(copy.deepcopy(dicts)), stock(copy.deepcopy(dicts)))
    expected = stock(copy.deepcopy(dicts[:1]), return_tensors="np")
    for found in (
        ours(dataset.__getitems__([0]), return_tensors="np"),
        ours(copy.deepcopy(dicts[:1]), return_tensors="np"),
    ):
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert isinstance(found[name], np.ndarray)
            assert np.array_equal(found[name], values)


@pytest.mark.parametrize("kind", ["DataCollatorForTokenClassification", "DataCollatorForSeq2Seq"])
def test_a_pad_that_is_no_whole_number_is_left_to_stock(kind):
    dataset, options = dataset_of(ROWS, ROWS), {"label_pad_token_id": -1.0}
    ours, stock = getattr(fastft, kind)(HF, **options), getattr(transformers, kind)(HF, **options)
    assert "label_pad_token_id=-1.0" in ours.why_not_rust(dataset)
    assert_same(ours(dataset.__getitems__([0, 1])), stock([dataset[0], dataset[1]]))


@pytest.mark.parametrize(
    ("options", "columns", "reason"),
    [
        ({"return_tensors": "np"}, {}, "return_tensors='np'"),
        ({"separator_id": 2.0}, {}, "separator_id=2.0"),
        ({"position_ids_start": 2**63}, {}, "position_ids_start="),
        ({}, {"labels": RaggedColumn.from_rows([[1], [1], [1]])}, "no label for each token"),
        ({}, {"labels": [0, 1, 0]}, "no label for each token"),
    ],
)
def test_what_rust_does_not_know_is_flattened_by_the_stock_class(options, columns, reason):
    dataset = dataset_of(ROWS, None, **columns)
    assert reason in DataCollatorWithFlattening(**options).why_not_rust(dataset)


def test_a_separator_may_be_given_with_the_batch():
    dataset = dataset_of(ROWS, None)
    expected = transformers.DataCollatorWithFlattening()([dataset[0], dataset[1]], separator_id=3)
    found = DataCollatorWithFlattening()(dataset.__getitems__([0, 1]), separator_id=3)
    assert_same_values(found, expected)


def test_queries_and_keys_have_arrays_of_their_own():
    collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    batch = collate(dataset_of(ROWS, None).__getitems__([0, 1]))
    batch["cu_seq_lens_q"][0] = 9
    assert batch["cu_seq_lens_k"][0] == 0


@pytest.mark.parametrize(
    "change", [("label_pad_token_id", 3), ("pad_to_multiple_of", 8), ("tokenizer", "left")]
)
def test_what_is_changed_between_two_batches_is_seen(change):
    dataset = dataset_of(ROWS, ROWS)
    hf = tokenizer_with()
    ours = DataCollatorForTokenClassification(hf)
    stock = transformers.DataCollatorForTokenClassification(hf)
    ours(dataset.__getitems__([0, 1]))
    name, value = change
    if name == "tokenizer":
        hf.padding_side = value
    else:
        setattr(ours, name, value)
        setattr(stock, name, value)
    assert_same(ours(dataset.__getitems__([0, 1])), stock([dataset[0], dataset[1]]))
    other = dataset_of(ROWS[::-1], ROWS)  # another dataset, whose labels do not fit
    assert "more labels" in ours.why_not_rust(other)


def test_question_answering_is_padding_with_two_columns():
    dataset = dataset_of(ROWS, None, start_positions=[0, 0, 1], end_positions=[2, 0, 1])
    ours = fastft.DataCollatorWithPadding(HF)
    assert ours.why_not_rust(dataset) is None
    expected = transformers.DataCollatorWithPadding(HF)([dataset[2], dataset[0]])
    assert_same(ours(dataset.__getitems__([2, 0])), expected)


def test_public_names_are_stock_collators():
    for name in ("DataCollatorForTokenClassification", "DataCollatorWithFlattening"):
        assert issubclass(getattr(fastft, name), getattr(transformers, name))
        assert name in fastft.__all__
