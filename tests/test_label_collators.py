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
from tests.masking import masked
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


def row_batches():
    """Rows of ids in two types, of no length and of many, some beyond 64 and 128."""
    rng = np.random.default_rng(5)
    for dtype in (np.uint16, np.uint32):
        lengths = np.append(rng.integers(0, 150, 58), [0, 128])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
        yield TokenDataset(rng.integers(0, len(HF), lengths.sum()).astype(dtype), offsets)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("seed", "epoch"), [(3, 0), (-1, 7), (2**64 + 5, 2**32)])
@pytest.mark.parametrize("shares", [(0.15, 0.8, 0.1), (0.5, 0.3, 0.6), (1.0, 0.0, 1.0), (1, 0, 0)])
def test_masks_are_those_of_the_plain_reference(side, seed, epoch, shares):
    hf = tokenizer_with(padding_side=side)
    names = ("mlm_probability", "mask_replace_prob", "random_replace_prob")
    options = dict(zip(names, shares, strict=True))
    collator = DataCollatorForLanguageModeling(hf, seed=seed, **options)
    collator.set_epoch(epoch)
    unmasked = DataCollatorForLanguageModeling(hf, mlm=False)
    for dataset in row_batches():
        for rows in ([5, 59, 0, 5], np.arange(60), [int(dataset.lengths.argmax())]):
            features = dataset.__getitems__(rows)
            assert collator.why_not_rust(features) is None
            plain = unmasked(features)
            ids, mask = plain["input_ids"].numpy(), plain["attention_mask"].numpy()
            expected = masked(ids, mask, features.indices, hf, seed, epoch, shares)
            found = collator(features)
            assert list(found) == list(plain)
            assert np.array_equal(found["input_ids"].numpy(), expected[0])
            assert np.array_equal(found["labels"].numpy(), expected[1])
            assert np.array_equal(found["attention_mask"].numpy(), mask)


def test_what_is_changed_between_two_masked_batches_is_seen(plain):
    hf = tokenizer_with()
    collator = DataCollatorForLanguageModeling(hf, seed=3, mlm_probability=1.0)
    features = plain.__getitems__(ROWS)
    before = collator(features)
    collator.mask_replace_prob, collator.random_replace_prob = 1.0, 0.0
    assert set(collator(features)["input_ids"].unique().tolist()) & {hf.mask_token_id}
    hf.mask_token = "[UNK]"
    changed = collator(features)["input_ids"]
    assert hf.convert_tokens_to_ids("[UNK]") in changed
    assert HF.mask_token_id not in changed
    collator.mask_replace_prob, collator.random_replace_prob = 0.0, 1.0
    few = collator(features)["input_ids"].max()
    hf.add_tokens([f"new{number}" for number in range(100_000)])
    assert collator(features)["input_ids"].max() > few
    collator.mlm_probability = 0.01
    assert collator(features).num_loss_tokens < before.num_loss_tokens
    torch.manual_seed(1)
    collator.seed, collator.mlm_probability = None, 0.5
    first = collator(features)["labels"]
    torch.manual_seed(2)
    assert not torch.equal(collator(features)["labels"], first)


def large_vocabulary() -> Any:
    hf = tokenizer_with()
    hf.add_tokens([f"word{number}" for number in range(30_000 - len(hf))])
    return hf


def test_masks_have_the_shares_of_the_stock_collator():
    """10^6 positions, three standard deviations."""
    hf = large_vocabulary()
    assert len(hf) == 30_000
    cls, num_rows, width = hf.cls_token_id, 2_000, 512
    ids = np.full((num_rows, width), 29_999, np.uint16)
    ids[:, 0] = cls
    offsets = np.arange(0, num_rows * width + 1, width, dtype=np.uint64)
    dataset = TokenDataset(ids.reshape(-1), offsets)
    collator = DataCollatorForLanguageModeling(hf, seed=1)
    batch = collator(dataset.__getitems__(np.arange(num_rows)))
    found, labels = batch["input_ids"].numpy(), batch["labels"].numpy()
    assert (labels[:, 0] == -100).all()
    chosen = labels != -100
    assert (found[~chosen] == ids[~chosen]).all()
    count, positions = chosen.sum(), num_rows * (width - 1)
    kinds = found[chosen]
    for number, share, among in [
        (count, 0.15, positions),
        ((kinds == hf.mask_token_id).sum(), 0.8, count),
        ((kinds == 29_999).sum(), 0.1, count),
    ]:
        assert abs(number - share * among) < 3 * (among * share * (1 - share)) ** 0.5
    words = kinds[(kinds != hf.mask_token_id) & (kinds != 29_999)]
    assert abs(words.mean() - 15_000) < 3 * 30_000 / (12 * len(words)) ** 0.5


def test_random_bits_are_those_of_splitmix64():
    """The first three numbers of the published generator for the seed 1234567."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + k * gamma) % 2**64 for k in range(3)], np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert counter_random.mix(states).tolist() == expected
    assert counter_random.uniform(np.array([0, 2**64 - 1], np.uint64)).max() < 1
    assert counter_random.below(np.array([0, 2**64 - 1], np.uint64), 7).tolist() == [0, 6]
