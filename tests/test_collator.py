"""Our padding collator against the one of transformers: keys, order, dtypes, values, type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.token_dataset import TokenDataset
from fastft.data.tokenizer import Tokenizer
from fastft.data.type_ids import TypeIds
from tests.tiny import sentences, tiny_tokenizer


def equal(ours, theirs):
    assert type(ours) is type(theirs)
    assert list(ours.keys()) == list(theirs.keys())
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        assert torch.equal(ours[name], tensor), name


def random_dataset(lengths, rng, *, has_type_ids, has_mask, label):
    """Rows of random ids, with the columns that are asked for."""
    total = sum(lengths)
    ids = rng.integers(0, 60_000, total).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    starts = np.array([rng.integers(0, length + 1) for length in lengths], np.uint32)
    names = ["input_ids"]
    names += ["token_type_ids"] if has_type_ids else []
    names += ["attention_mask"] if has_mask else []
    columns = {}
    if label == "int":
        columns["labels"] = rng.integers(0, 9, len(lengths))
    elif label == "float":
        columns["label"] = rng.random(len(lengths)).astype(np.float32)
    elif label == "vector":
        columns["label_ids"] = rng.integers(0, 2, (len(lengths), 4))
    return TokenDataset(ids, offsets, TypeIds(starts, None), columns=columns, model_inputs=names)


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=9),
    side=st.sampled_from(["left", "right"]),
    multiple=st.sampled_from([None, 1, 4, 8]),
    max_length=st.sampled_from([None, 12, 15]),
    label=st.sampled_from([None, "int", "float", "vector"]),
    has_type_ids=st.booleans(),
    has_mask=st.booleans(),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_a_batch_equals_the_stock_one(
    lengths, side, multiple, max_length, label, has_type_ids, has_mask, data
):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = side
    tokenizer.model_input_names = (
        ["input_ids"]
        + (["token_type_ids"] if has_type_ids else [])
        + (["attention_mask"] if has_mask else [])
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dataset = random_dataset(
        lengths, rng, has_type_ids=has_type_ids, has_mask=has_mask, label=label
    )
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=9))
    options = {
        "padding": True if max_length is None else "max_length",
        "max_length": max_length,
        "pad_to_multiple_of": multiple,
    }
    stock = transformers.DataCollatorWithPadding(tokenizer, **options)
    ours = DataCollatorWithPadding(tokenizer, **options)
    equal(ours(dataset.__getitems__(rows)), stock([dataset[row] for row in rows]))
    equal(ours([dataset[row] for row in rows]), stock([dataset[row] for row in rows]))


@pytest.fixture
def dataset():
    texts = [text for text, _ in sentences(8)]
    return TokenDataset.from_texts(texts, tiny_tokenizer(), columns={"labels": [0, 1] * 4})


def why_not(dataset, **options):
    collate = DataCollatorWithPadding(tiny_tokenizer(), **options)
    return collate.why_not_rust(dataset.__getitems__([0, 1]))


def test_the_kernel_makes_ordinary_batches(dataset):
    assert why_not(dataset) is None
    assert why_not(dataset, pad_to_multiple_of=8) is None


def test_what_the_kernel_does_not_know_is_left_to_the_stock_class(dataset):
    assert "return_tensors='np'" in why_not(dataset, return_tensors="np")
    assert "padding=False" in why_not(dataset, padding=False)
    assert "not a TokenDataset" in DataCollatorWithPadding(tiny_tokenizer()).why_not_rust([])


def test_numpy_arrays_come_from_the_stock_class(dataset):
    batch = DataCollatorWithPadding(tiny_tokenizer(), return_tensors="np")(
        dataset.__getitems__([0, 1])
    )
    assert isinstance(batch["input_ids"], np.ndarray)


def test_examples_that_were_changed_are_collated_as_they_are(dataset):
    batch = dataset.__getitems__([0, 1])
    batch[0]["labels"] = 9
    assert DataCollatorWithPadding(tiny_tokenizer())(batch)["labels"].tolist() == [9, 1]


def test_a_tokenizer_that_pads_in_its_own_way_keeps_it(dataset):
    class Own(transformers.PreTrainedTokenizerFast):
        def pad(self, *args, **kwargs):
            return super().pad(*args, **{**kwargs, "pad_to_multiple_of": 64})

    tokenizer = Own(tokenizer_object=tiny_tokenizer().backend_tokenizer, pad_token="[PAD]")
    batch = DataCollatorWithPadding(tokenizer)(dataset.__getitems__([0, 1]))
    assert batch["input_ids"].shape[1] == 64


def test_a_fastft_tokenizer_says_how_to_pad_too(dataset):
    collate = DataCollatorWithPadding(Tokenizer.from_hf(tiny_tokenizer()))
    equal(collate(dataset.__getitems__([0, 3])),
          DataCollatorWithPadding(tiny_tokenizer())(dataset.__getitems__([0, 3])))  # fmt: skip


def test_the_tensors_may_be_written_to(dataset):
    batch = DataCollatorWithPadding(tiny_tokenizer())(dataset.__getitems__([0, 1]))
    for tensor in batch.values():
        tensor.add_(1)
    assert dataset[0]["labels"] == 0
