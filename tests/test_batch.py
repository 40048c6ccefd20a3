"""The positions that a loss counts, known to a batch but no key of it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from fastft.data.batch import Batch
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from tests.test_collator import tokenizer_with
from tests.tiny import tiny_tokenizer

HF = tiny_tokenizer()
LEFT = tokenizer_with(padding_side="left")
ROWS = [[5, 6, 7, 8], [9], [10, 11]]
LABELS = [[-100, 1, 2, -100], [3], [4, -100]]
PICKS = [1, 0, 2]


def dataset(labels: bool = True) -> TokenDataset:
    flat = np.array([token for row in ROWS for token in row], np.uint16)
    offsets = np.cumsum([0, *map(len, ROWS)]).astype(np.uint64)
    columns = {"labels": RaggedColumn.from_rows(LABELS)} if labels else {}
    return TokenDataset(flat, offsets, columns=columns)


def causal_seq2seq() -> DataCollatorForSeq2Seq:
    collator = DataCollatorForSeq2Seq(HF)
    collator.predicts_next = True
    return collator


COLLATORS: list[tuple[Any, bool, bool]] = [
    (DataCollatorForLanguageModeling(HF, mlm=False), False, True),
    (DataCollatorForLanguageModeling(LEFT, mlm=False), False, True),
    (DataCollatorForLanguageModeling(HF, mlm_probability=0.6, seed=1), False, False),
    (DataCollatorForTokenClassification(HF), True, False),
    (DataCollatorForTokenClassification(LEFT), True, False),
    (DataCollatorForSeq2Seq(HF), True, False),
    (DataCollatorForSeq2Seq(LEFT, pad_to_multiple_of=3), True, False),
    (causal_seq2seq(), True, True),
    (DataCollatorWithFlattening(), False, True),
    (DataCollatorWithFlattening(separator_id=0, return_flash_attn_kwargs=True), True, True),
]


@pytest.mark.parametrize(("collator", "labels", "predicts_next"), COLLATORS)
def test_positions_are_those_of_the_plain_rule(collator, labels, predicts_next):
    batch = collator(dataset(labels).__getitems__(PICKS))
    expected = []
    matrix = batch["labels"]
    for row, line in enumerate(matrix.tolist()):
        for position in range(len(line)):
            label = [*line[1:], -100][position] if predicts_next else line[position]
            if label != -100:
                expected.append((row * len(line) + position, label))
    assert batch.predicts_next is predicts_next
    assert batch.num_loss_tokens == len(expected) > 0
    assert list(zip(batch.loss_index.tolist(), batch.loss_labels.tolist(), strict=True)) == expected
    assert batch.loss_index.dtype == batch.loss_labels.dtype == torch.int64
    assert not {"loss_index", "loss_labels", "num_loss_tokens", "rows"} & set(batch)
    assert batch.rows.tolist() == PICKS


@pytest.mark.parametrize(("collator", "labels", "predicts_next"), COLLATORS)
def test_the_loss_of_these_positions_is_that_of_the_batch(collator, labels, predicts_next):
    batch = collator(dataset(labels).__getitems__(PICKS))
    matrix = batch["labels"]
    logits = torch.randn(*matrix.shape, 40_000, generator=torch.Generator().manual_seed(1))
    given, wanted = (logits[:, :-1], matrix[:, 1:]) if predicts_next else (logits, matrix)
    stock = torch.nn.functional.cross_entropy(given.flatten(0, 1), wanted.flatten())
    few = logits.flatten(0, 1)[batch.loss_index]
    torch.testing.assert_close(torch.nn.functional.cross_entropy(few, batch.loss_labels), stock)


def test_a_batch_without_labels_of_tokens_has_no_positions():
    batch = DataCollatorWithPadding(HF)(dataset(labels=False).__getitems__(PICKS))
    assert isinstance(batch, Batch)
    assert (batch.loss_index, batch.loss_labels, batch.num_loss_tokens) == (None, None, None)
    assert batch.predicts_next is None


def batches() -> list[Any]:
    rows = dataset().__getitems__(PICKS)
    return [DataCollatorForTokenClassification(HF)(rows), DataCollatorWithFlattening()(rows)]


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("batch", batches())
def test_attributes_follow_a_batch(batch, looked_at):
    keys = list(batch)
    index = batch.loss_index.tolist() if looked_at else None
    for other in (pickle.loads(pickle.dumps(batch)), copy.copy(batch), copy.deepcopy(batch)):
        assert list(other) == keys
        assert index in (None, other.loss_index.tolist())
        assert other.rows.tolist() == PICKS
        assert other.num_loss_tokens == len(other.loss_labels) > 0
    moved = copy.deepcopy(batch)
    assert moved.to("meta") is moved
    assert moved["labels"].device.type == "meta"
    assert moved.loss_index.device.type == moved.loss_labels.device.type == "meta"
    assert moved.num_loss_tokens == batch.num_loss_tokens
    pinned_like = type(batch)({name: value for name, value in batch.items()})
    assert pinned_like.loss_index is None  # a copy of the keys alone


def test_labels_taken_out_of_a_batch_leave_its_positions():
    batch = batches()[0]
    batch.pop("labels")
    assert batch.num_loss_tokens == 4
    assert batch["input_ids"].shape == (3, 4)


def test_a_recipe_does_not_travel_with_its_collator():
    collator = DataCollatorForTokenClassification(HF)
    first = collator(dataset().__getitems__(PICKS))
    for other in (pickle.loads(pickle.dumps(collator)), copy.deepcopy(collator)):
        assert other._settled is None
        assert torch.equal(other(dataset().__getitems__(PICKS))["labels"], first["labels"])


def test_other_labels_have_no_positions_that_were_found_for_these():
    batch = DataCollatorForLanguageModeling(HF, mlm=False)(
        dataset(labels=False).__getitems__(PICKS)
    )
    assert batch.num_loss_tokens is not None
    batch["labels"] = torch.full_like(batch["labels"], -100)
    assert batch.num_loss_tokens is batch.loss_index is batch.loss_labels is None
    assert batch.to("cpu").num_loss_tokens is None


@pytest.mark.parametrize("collator", [COLLATORS[0][0], DataCollatorWithFlattening()])
@pytest.mark.parametrize("asked", [False, True])
def test_a_copy_of_the_keys_can_be_given_the_attributes(collator, asked):
    batch = collator(dataset(labels=False).__getitems__(PICKS))
    if asked:
        assert batch.loss_index is not None
    batch.has_weight = False
    bare = type(batch)({name: copy.copy(value) for name, value in batch.items()})
    assert bare.num_loss_tokens is None
    other = batch.hand_on_to(bare)
    assert other is bare and not other.has_weight
    assert torch.equal(other.loss_index, batch.loss_index)
    assert other.rows is batch.rows and other.predicts_next
    batch["labels"] = batch["labels"] + 1
    assert batch.hand_on_to(type(batch)(batch)).num_loss_tokens is None
    assert other.num_loss_tokens is not None


def test_a_deep_copy_and_a_pickle_know_their_labels():
    batch = DataCollatorForLanguageModeling(HF, mlm=False)(
        dataset(labels=False).__getitems__(PICKS)
    )
    for again in (copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert torch.equal(again.loss_index, batch.loss_index)


@pytest.mark.parametrize("collator", [COLLATORS[0][0], DataCollatorWithFlattening()])
def test_labels_changed_in_place_are_looked_at_anew(collator):
    batch = collator(dataset(labels=False).__getitems__(PICKS))
    before = batch.num_loss_tokens
    batch["labels"][:, :3] = -100
    assert before is None or batch.num_loss_tokens < before
    again = collator(dataset(labels=False).__getitems__(PICKS))
    again["labels"][:, :3] = -100
    assert batch.num_loss_tokens == again.num_loss_tokens
    assert before is None or torch.equal(batch.loss_labels, again.loss_labels)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("whose", ["copy", "original"])
def test_labels_of_a_moved_batch_changed_in_place_have_no_positions(whose, asked):
    batch = DataCollatorWithFlattening()(dataset(labels=False).__getitems__(PICKS))
    assert not asked or batch.loss_index is not None
    other = batch.hand_on_to(type(batch)({name: copy.copy(one) for name, one in batch.items()}))
    other["labels"] = batch["labels"].clone()
    other = batch.hand_on_to(other)
    assert other.num_loss_tokens == batch.num_loss_tokens
    (other if whose == "copy" else batch)["labels"][:, 1] = -100
    assert other.num_loss_tokens is other.loss_index is None


@pytest.mark.parametrize("collator", [COLLATORS[0][0], DataCollatorWithFlattening()])
def test_pinned_batches_know_what_they_knew(collator, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    batch = collator(dataset(labels=False).__getitems__(PICKS))
    pinned = torch.utils.data._utils.pin_memory.pin_memory(batch)
    assert type(pinned) is type(batch) and pinned.rows is batch.rows
    assert pinned["input_ids"].data_ptr() != batch["input_ids"].data_ptr()
    assert all(torch.equal(pinned[name], batch[name]) for name in ("input_ids",))
    assert pinned.num_loss_tokens == batch.num_loss_tokens
