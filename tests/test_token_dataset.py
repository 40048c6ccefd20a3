from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    default_data_collator,
)

from fastft.data.batch_reference import BatchReference
from fastft.data.token_dataset import TokenDataset
from fastft.data.type_ids import TypeIds
from fastft.errors import ColumnError, DataError, DataNotFoundError
from tests.tiny import WORDS, sentences, tiny_tokenizer

TEXTS = ["the film was good", "", "bad", "a very very dull plot and you hate it"]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def dataset(tokenizer):
    return TokenDataset.from_texts(TEXTS, tokenizer, columns={"labels": [0, 1, 0, 1]})


words = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


@given(
    rows=st.lists(st.tuples(words, words), min_size=1, max_size=12),
    max_length=st.one_of(st.none(), st.integers(4, 20)),
    is_pair=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_rows_are_those_of_the_hugging_face_tokenizer(rows, max_length, is_pair):
    tokenizer = tiny_tokenizer()
    texts, pairs = map(list, zip(*rows, strict=True))
    dataset = TokenDataset.from_texts(
        texts, tokenizer, text_pair=pairs if is_pair else None, max_length=max_length
    )
    expected = tokenizer(
        texts, pairs if is_pair else None, truncation=max_length is not None, max_length=max_length
    )
    assert len(dataset) == len(texts)
    for row in range(len(texts)):
        assert dataset[row] == {name: expected[name][row] for name in expected}


def test_rows_over_several_slices_are_the_same(tokenizer, monkeypatch):
    import fastft.data.token_dataset as module

    whole = TokenDataset.from_texts(TEXTS * 5, tokenizer)
    seen = []
    monkeypatch.setattr(module, "ROWS_PER_SLICE", 3)
    sliced = TokenDataset.from_texts(TEXTS * 5, tokenizer, progress=seen.append)
    assert [sliced[row] for row in range(20)] == [whole[row] for row in range(20)]
    assert seen == [3, 6, 9, 12, 15, 18, 20]


def test_lengths_tokens_and_what_was_cut_are_counted(tokenizer):
    dataset = TokenDataset.from_texts(TEXTS, tokenizer, max_length=5)
    assert dataset.lengths.tolist() == [5, 2, 3, 5]
    assert dataset.num_tokens == 15
    assert (dataset.num_truncated_rows, dataset.num_truncated_tokens) == (2, 7)


def test_small_vocabularies_take_two_bytes_a_token(dataset):
    assert dataset.arrays()["ids"].dtype == np.uint16


def test_large_vocabularies_take_four():
    ids = np.array([70_000, 1], dtype=np.uint32)
    dataset = TokenDataset(ids, np.array([0, 2], dtype=np.uint64))
    assert dataset[0]["input_ids"] == [70_000, 1]


def test_labels_stand_in_each_row_as_plain_numbers(dataset):
    assert dataset[1]["labels"] == 1
    assert type(dataset[1]["labels"]) is int
    assert dataset.columns["labels"].dtype == np.int64


def test_negative_rows_count_from_the_end_and_others_do_not_exist(dataset):
    assert dataset[-1] == dataset[3]
    with pytest.raises(IndexError):
        dataset[4]


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        ({"labels": [0, 1]}, "2 entries"),
        ({"labels": ["a", "b", "c", "d"]}, "'a' in row 0"),
        ({"labels": [0, None, 1, 1]}, "None in row 1"),
        ({"input_ids": [0, 1, 2, 3]}, "taken"),
        ({"labels": 3}, "single value"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tokenizer, columns, part):
    with pytest.raises(ColumnError, match=part):
        TokenDataset.from_texts(TEXTS, tokenizer, columns=columns)


@pytest.mark.parametrize(
    ("ids", "offsets", "type_ids"),
    [
        ([1, 2], [0, 3], None),
        ([1, 2], [0, 2, 1], None),
        ([1, 2], [1, 2], None),
        ([1, 99], [0, 2], None),
        ([1, 2], [0, 2], TypeIds(np.array([0, 0], np.uint32), None)),
        ([1, 2], [0, 2], TypeIds(None, np.array([0], np.uint8))),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(ids, offsets, type_ids):
    with pytest.raises(DataError):
        TokenDataset(
            np.array(ids, np.uint16), np.array(offsets, np.uint64), type_ids, vocab_size=10
        )


def same(ours, theirs):
    return len(ours) == len(theirs) and all(ours[row] == theirs[row] for row in range(len(theirs)))


def through_pickle(dataset):
    return pickle.loads(pickle.dumps(dataset))


def through_arrays(dataset):
    return TokenDataset.from_arrays(dataset.arrays())


@pytest.mark.parametrize("again", [copy.deepcopy, through_pickle, through_arrays])
def test_a_copy_is_the_same(dataset, again):
    copied = again(dataset)
    assert same(copied, dataset)
    assert copied.num_truncated_rows == dataset.num_truncated_rows


def test_saved_and_loaded_it_is_the_same(dataset, tmp_path):
    dataset.save(tmp_path / "tokens.safetensors")
    assert same(TokenDataset.load(tmp_path / "tokens.safetensors"), dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.safetensors"]


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty", "other"])
def test_a_damaged_file_is_refused(dataset, tmp_path, damage):
    path = tmp_path / "tokens.safetensors"
    dataset.save(path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    elif damage == "cut":
        del content[-5:]
    elif damage == "grow":
        content += b"\0"
    elif damage == "empty":
        content.clear()
    else:
        content[:] = b"hello, this is no dataset"
    path.write_bytes(content)
    with pytest.raises(DataError):
        TokenDataset.load(path)


def test_every_flipped_bit_of_the_payload_is_found(dataset, tmp_path):
    path = tmp_path / "tokens.safetensors"
    dataset.save(path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for position in range(start, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            TokenDataset.load(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataNotFoundError):
        TokenDataset.load(tmp_path / "none")


def test_a_batch_is_a_reference_until_somebody_looks(dataset):
    batch = dataset.__getitems__([2, 0])
    assert isinstance(batch, BatchReference)
    assert isinstance(batch, list)
    assert len(batch) == 2
    assert batch.is_untouched
    assert [example["labels"] for example in batch] == [0, 0]
    assert not batch.is_untouched
    batch.append({"labels": 7})
    assert len(batch) == 3


@pytest.mark.parametrize("rows", [[4], [-5], [[0]], [0.5]])
def test_a_reference_to_rows_that_do_not_exist_is_refused(dataset, rows):
    with pytest.raises((IndexError, DataError)):
        dataset.__getitems__(rows)


def stock_collators(tokenizer):
    padding = DataCollatorWithPadding(tokenizer)
    return {
        "padding": padding,
        "token classification": DataCollatorForTokenClassification(tokenizer),
        "seq2seq": DataCollatorForSeq2Seq(tokenizer),
        "causal": DataCollatorForLanguageModeling(tokenizer, mlm=False),
        "masked": DataCollatorForLanguageModeling(tokenizer, mlm=True),
        "flattening": DataCollatorWithFlattening(),
        "default": lambda rows: default_data_collator([{"labels": row["labels"]} for row in rows]),
    }


@pytest.mark.parametrize(
    "name",
    ["padding", "token classification", "seq2seq", "causal", "masked", "flattening", "default"],
)
def test_every_stock_collator_works_under_a_stock_loader(tokenizer, name):
    texts = [text for text, _ in sentences(12)]
    # These want labels a token; the others one a row.
    per_token = name in ("token classification", "seq2seq", "flattening")
    columns = {} if per_token else {"labels": [0, 1] * 6}
    dataset = TokenDataset.from_texts(texts, tokenizer, columns=columns)

    def collate(rows):
        rows = [{**row, "labels": list(row["input_ids"])} for row in rows] if per_token else rows
        return stock_collators(tokenizer)[name](rows)

    def run(source):
        torch.manual_seed(0)
        return list(torch.utils.data.DataLoader(source, batch_size=5, collate_fn=collate))

    ours, theirs = run(dataset), run([dataset[row] for row in range(12)])
    assert len(ours) == len(theirs) == 3
    for our_batch, their_batch in zip(ours, theirs, strict=True):
        assert dict(our_batch).keys() == dict(their_batch).keys()
        for key, value in dict(their_batch).items():
            assert torch.equal(torch.as_tensor(our_batch[key]), torch.as_tensor(value)), key
