"""Collators that make or pad label sequences: the stock batches, and masks as promised."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from fastft.data import counter_random
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ColumnError
from tests.test_collator import assert_same
from tests.tiny import sentences, tiny_tokenizer

HF = tiny_tokenizer()
ROWS = [3, 0, 17, 3]


def tokenizer_with(**settings: Any) -> Any:
    hf = copy.deepcopy(HF)
    for name, value in settings.items():
        setattr(hf, name, value)
    return hf


def texts(number: int = 40) -> list[str]:
    return [text for text, _ in sentences(number)]


@pytest.fixture(scope="module")
def translated() -> TokenDataset:
    """Rows with a target sequence each, the fourth of them empty."""
    targets = [list(range(5, 5 + row % 7)) for row in range(40)]
    targets[3] = []
    columns = {"labels": RaggedColumn.from_rows(targets), "idx": range(40)}
    return TokenDataset.from_texts(texts(), HF, columns=columns)


class Decoder:
    """Makes decoder inputs as T5 does: the labels, moved right by one."""

    @staticmethod
    def prepare_decoder_input_ids_from_labels(labels: torch.Tensor) -> torch.Tensor:
        start = labels.new_zeros(len(labels), 1)
        return torch.cat([start, labels[:, :-1]], dim=1).masked_fill(labels == -100, 0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("model", [None, Decoder()])
@pytest.mark.parametrize("label_pad", [-100, 0])
def test_seq2seq_batches_are_the_stock_ones(translated, side, multiple, model, label_pad):
    hf = tokenizer_with(padding_side=side)
    options = {"model": model, "pad_to_multiple_of": multiple, "label_pad_token_id": label_pad}
    ours = DataCollatorForSeq2Seq(hf, **options)
    batch = translated.__getitems__(ROWS)
    assert ours.why_not_rust(batch) is None
    stock = transformers.DataCollatorForSeq2Seq(hf, **options)
    assert_same(ours(batch), stock([translated[row] for row in ROWS]))
    assert batch.is_untouched


def test_what_rust_does_not_know_goes_to_the_stock_seq2seq_collator(translated):
    ours = DataCollatorForSeq2Seq(HF, padding="max_length", max_length=64)
    batch = translated.__getitems__(ROWS)
    assert "fixed width" in ours.why_not_rust(batch)
    assert ours(batch)["labels"].shape == (4, 64)


def test_a_ragged_column_survives_saving_and_sending(translated, tmp_path):
    translated.save(tmp_path / "tokens.safetensors")
    for other in (
        TokenDataset.load(tmp_path / "tokens.safetensors"),
        TokenDataset.from_arrays(translated.arrays()),
    ):
        assert [other[row] for row in range(40)] == [translated[row] for row in range(40)]


@pytest.mark.parametrize(
    ("values", "offsets"),
    [
        (np.zeros(3, np.int64), np.array([0, 3])),
        (np.zeros(3, np.int32), np.array([0, 2])),
        (np.zeros(3, np.int32), np.array([1, 3])),
        (np.zeros(3, np.int32), np.array([0, 4, 3])),
        (np.zeros(0, np.int32), np.zeros(0, np.int64)),
    ],
)
def test_offsets_that_do_not_cut_the_values_into_rows_are_refused(values, offsets):
    with pytest.raises(ColumnError):
        RaggedColumn(values, offsets)


# -- language models ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> TokenDataset:
    return TokenDataset.from_texts(texts(), HF)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("multiple", [None, 8])
def test_causal_batches_are_the_stock_ones_where_only_padding_is_padding(plain, side, multiple):
    options = {"mlm": False, "pad_to_multiple_of": multiple}
    hf = tokenizer_with(padding_side=side)
    ours = DataCollatorForLanguageModeling(hf, **options)
    batch = plain.__getitems__(ROWS)
    assert ours.why_not_rust(batch) is None
    stock = transformers.DataCollatorForLanguageModeling(hf, **options)
    assert_same(ours(batch), stock([plain[row] for row in ROWS]))


@pytest.mark.parametrize("as_dicts", [False, True])
def test_an_end_of_text_that_also_pads_is_learnt(plain, as_dicts):
    hf = tokenizer_with(pad_token="[SEP]")  # every row ends with it
    features = plain.__getitems__(ROWS)
    batch = DataCollatorForLanguageModeling(hf, mlm=False)(list(features) if as_dicts else features)
    ends = batch["attention_mask"].sum(dim=1) - 1
    assert (batch["labels"][torch.arange(4), ends] == hf.pad_token_id).all()
    assert ((batch["labels"] == -100) == (batch["attention_mask"] == 0)).all()


def masks(collator, dataset, rows):
    batch = collator(dataset.__getitems__(rows))
    return {
        row: (ids[mask.bool()].tolist(), labels[mask.bool()].tolist())
        for row, ids, labels, mask in zip(
            rows, batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        )
    }


def test_masks_depend_on_seed_epoch_and_row_alone(plain):
    collator = DataCollatorForLanguageModeling(HF, seed=3)
    all_rows = masks(collator, plain, list(range(40)))
    assert masks(collator, plain, [17])[17] == all_rows[17]
    left = DataCollatorForLanguageModeling(tokenizer_with(padding_side="left"), seed=3)
    assert masks(left, plain, [17, 5]) == {row: all_rows[row] for row in (17, 5)}
    assert masks(DataCollatorForLanguageModeling(HF, seed=4), plain, list(range(40))) != all_rows
    evaluation = collator.for_evaluation()
    collator.set_epoch(1)
    assert masks(collator, plain, list(range(40))) != all_rows
    fixed = masks(evaluation, plain, list(range(40)))
    assert fixed == masks(collator.for_evaluation(), plain, list(range(40)))
    assert fixed != all_rows


class LargeVocabulary:
    """What the collator asks a tokenizer when it masks."""

    all_special_ids = (0, 1)
    mask_token = "[MASK]"
    mask_token_id = 1

    def __len__(self):
        return 30_000


def test_masks_have_the_shares_of_the_stock_collator():
    """10^6 positions, three standard deviations."""
    collator = DataCollatorForLanguageModeling(LargeVocabulary(), seed=1)
    ids = np.full((2_000, 512), 29_999)
    ids[:, 0] = 0
    masked, labels = collator.masked(ids, np.ones_like(ids), np.arange(2_000))
    assert (labels[:, 0] == -100).all()
    chosen = labels != -100
    assert (masked[~chosen] == ids[~chosen]).all()
    count, positions = chosen.sum(), 2_000 * 511
    kinds = masked[chosen]
    for found, share, number in [
        (count, 0.15, positions),
        ((kinds == 1).sum(), 0.8, count),
        ((kinds == 29_999).sum(), 0.1, count),
    ]:
        assert abs(found - share * number) < 3 * (number * share * (1 - share)) ** 0.5
    words = kinds[(kinds != 1) & (kinds != 29_999)]
    assert abs(words.mean() - 15_000) < 3 * 30_000 / (12 * len(words)) ** 0.5


def test_random_bits_are_those_of_splitmix64():
    """The first three numbers of the published generator for the seed 1234567."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + k * gamma) % 2**64 for k in range(3)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert counter_random.mix(states).tolist() == expected
    assert counter_random.uniform(np.array([0, 2**64 - 1], np.uint64)).max() < 1
    assert counter_random.below(np.array([0, 2**64 - 1], np.uint64), 7).tolist() == [0, 6]
