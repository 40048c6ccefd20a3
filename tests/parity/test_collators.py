"""Batches of real text, by every tokenizer and collator: those of transformers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import transformers

import fastft
from fastft.data.ragged_column import RaggedColumn
from tests.test_token_label_collators import assert_same_values

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NUM_ROWS = 300


@pytest.fixture(scope="module")
def texts(shared_data):
    file = shared_data / "pairs" / "mrpc" / "train.tsv"
    lines = file.read_text(encoding="utf-8-sig").split("\n")[1 : NUM_ROWS + 1]
    return [line.split("\t")[3] for line in lines]


def assert_parity(kind, dataset, *args, **options):
    ours = getattr(fastft, kind)(*args, **options)
    stock = getattr(transformers, kind)(*args, **options)
    assert ours.why_not_rust(dataset) is None
    order = np.random.default_rng(3).permutation(len(dataset))
    for start in range(0, len(order), 16):
        batch = dataset.__getitems__(order[start : start + 16])
        assert_same_values(ours(batch), stock([dataset[int(row)] for row in batch.indices]))
        assert batch.is_untouched


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_of_real_text(hf, texts, side):
    if hf.pad_token is None:
        hf.add_special_tokens({"pad_token": "[a pad token]"})
    hf.padding_side = side
    plain = fastft.TokenDataset.from_texts(texts, hf, max_length=64)
    rows = [plain[row]["input_ids"] for row in range(len(plain))]
    tags = RaggedColumn.from_rows([[token % 9 - 1 for token in row] for row in rows])
    targets = RaggedColumn.from_rows([row[: 1 + len(row) // 2] for row in rows])

    def with_columns(**columns):
        return fastft.TokenDataset.from_texts(texts, hf, max_length=64, columns=columns)

    scores = np.linspace(0, 1, len(rows))
    places = {"start_positions": np.arange(len(rows)), "end_positions": np.arange(len(rows))}
    assert_parity("DataCollatorWithPadding", with_columns(labels=scores), hf)
    assert_parity("DataCollatorWithPadding", with_columns(**places), hf, pad_to_multiple_of=8)
    assert_parity("DataCollatorForTokenClassification", with_columns(labels=tags), hf)
    assert_parity("DataCollatorForSeq2Seq", with_columns(labels=targets), hf, pad_to_multiple_of=8)
    assert_parity("DataCollatorForLanguageModeling", plain, hf, mlm=False)
    everything = {"return_flash_attn_kwargs": True, "return_seq_idx": True}
    assert_parity("DataCollatorWithFlattening", plain, **everything)
    assert_parity("DataCollatorWithFlattening", with_columns(labels=tags), separator_id=0)
