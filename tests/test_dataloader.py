"""Every stock part works on a TokenDataset, and fastft's parts work in stock loaders."""

from __future__ import annotations

import pickle
from typing import Any

import accelerate
import pytest
import torch
import transformers
from torch.utils.data import DataLoader as TorchDataLoader

import fastft
from fastft.data.batch_sampler import BatchSampler
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.token_dataset import TokenDataset
from tests.tiny import sentences, tiny_tokenizer

HF = tiny_tokenizer()


@pytest.fixture(scope="module")
def dataset() -> TokenDataset:
    texts, labels = zip(*sentences(50), strict=True)
    numbers = [int(label == "positive") for label in labels]
    return TokenDataset.from_texts(texts, HF, columns={"labels": numbers})


@pytest.fixture(scope="module")
def rows(dataset: TokenDataset) -> list[dict[str, Any]]:
    """The same examples as a plain list, without `__getitems__`."""
    return [dataset[index] for index in range(len(dataset))]


def assert_same_batches(first: Any, second: Any) -> None:
    batches, others = list(first), list(second)
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        assert list(batch) == list(other)
        for name in batch:
            torch.testing.assert_close(batch[name], other[name], rtol=0, atol=0)


def generator(seed: int = 11) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shuffled_batches_are_torchs(
    dataset: TokenDataset, rows: list[Any], num_workers: int
) -> None:
    collator = DataCollatorWithPadding(HF)
    loader = DataLoader(
        dataset,
        8,
        shuffle=True,
        generator=generator(),
        collate_fn=collator,
        num_workers=num_workers,
    )
    assert loader.explain().startswith("rust")
    stock = TorchDataLoader(
        rows,
        8,
        shuffle=True,
        generator=generator(),
        collate_fn=transformers.DataCollatorWithPadding(HF),
    )
    for _ in range(2):  # epochs
        assert_same_batches(loader, stock)


STOCK_COLLATORS: dict[str, Any] = {
    "padding": lambda: transformers.DataCollatorWithPadding(HF),
    "mlm": lambda: transformers.DataCollatorForLanguageModeling(HF, seed=5),
    "clm": lambda: transformers.DataCollatorForLanguageModeling(HF, mlm=False),
    "seq2seq": lambda: transformers.DataCollatorForSeq2Seq(HF),
    "flattening": lambda: transformers.DataCollatorWithFlattening(),
    "default": lambda: transformers.default_data_collator,
    "tokens": lambda: transformers.DataCollatorForTokenClassification(HF),
    "torch": lambda: torch.utils.data.default_collate,
}


@pytest.mark.parametrize("name", STOCK_COLLATORS)
def test_every_stock_collator_takes_our_batches(dataset: TokenDataset, name: str) -> None:
    make = STOCK_COLLATORS[name]
    source: Any = dataset
    if name in ("mlm", "clm"):
        source = TokenDataset(dataset.ids, dataset.row_offsets)
    if name in ("default", "torch"):  # these do not pad: rows of one length
        width = int(dataset.lengths[0])
        alike = [row for row in range(len(dataset)) if dataset.lengths[row] == width]
        source = torch.utils.data.Subset(dataset, alike)
    if name in ("tokens", "seq2seq", "flattening"):  # these take a label for each token
        source = WithTokenLabels(dataset)
    plain = [source[index] for index in range(len(source))]
    ours = TorchDataLoader(source, 4, collate_fn=make())
    assert_same_batches(ours, TorchDataLoader(plain, 4, collate_fn=make()))


class WithTokenLabels(torch.utils.data.Dataset[Any]):
    """A user's wrapper that changes each example of a batch."""

    def __init__(self, dataset: TokenDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.dataset[index], "labels": self.dataset[index]["input_ids"]}

    def __getitems__(self, indices: list[int]) -> Any:
        batch = self.dataset.__getitems__(indices)
        for row in batch:
            row["labels"] = row["input_ids"]
        return batch


def test_our_batch_sampler_in_a_loader(dataset: TokenDataset) -> None:
    sampler = BatchSampler(dataset, batch_size=8, seed=1)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=DataCollatorWithPadding(HF))
    assert len(loader) == len(sampler) == 7
    for batch, indices in zip(loader, sampler, strict=True):
        assert batch["labels"].tolist() == [dataset[index]["labels"] for index in indices]


def test_accelerate_keeps_the_batches_and_sets_the_epoch(dataset: TokenDataset) -> None:
    accelerator = accelerate.Accelerator(cpu=True)
    sampler = BatchSampler(dataset, batch_size=8, seed=1)
    collator = DataCollatorWithPadding(HF)
    prepared = accelerator.prepare(DataLoader(dataset, batch_sampler=sampler, collate_fn=collator))
    for epoch in range(3):
        prepared.set_epoch(epoch)
        expected = [collator(dataset.__getitems__(indices)) for indices in sampler.plan(epoch)]
        assert_same_batches(prepared, expected)


def test_accelerate_shards_our_sampler(dataset: TokenDataset) -> None:
    from accelerate.data_loader import prepare_data_loader

    sampler = BatchSampler(dataset, batch_size=4, seed=1)
    collator = DataCollatorWithPadding(HF)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collator)
    shards = [
        list(prepare_data_loader(loader, num_processes=2, process_index=rank, put_on_device=False))
        for rank in range(2)
    ]
    plan = sampler.plan()
    for step, batches in enumerate(zip(*shards, strict=True)):
        for rank, batch in enumerate(batches):
            if 2 * step + rank < len(plan) - 1:  # the tail is filled up by accelerate
                expected = collator(dataset.__getitems__(plan[2 * step + rank]))
                assert torch.equal(batch["input_ids"], expected["input_ids"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "rust: batches are gathered"),
        ({"collate_fn": None}, "torch: collate_fn is default_collate"),
        ({"collate_fn": transformers.DataCollatorWithPadding(HF)}, "torch: collate_fn is Data"),
        ({"collate_fn": DataCollatorWithPadding(HF, return_tensors="np")}, "torch: return_tensors"),
        ({"batch_size": None}, "torch: batch_size is None"),
    ],
)
def test_it_says_how_batches_are_made(
    dataset: TokenDataset, options: dict[str, Any], reason: str
) -> None:
    arguments = {"batch_size": 4, "collate_fn": DataCollatorWithPadding(HF), **options}
    assert DataLoader(dataset, **arguments).explain().startswith(reason)
    subset = torch.utils.data.Subset(dataset, [0, 1])
    assert DataLoader(subset, **arguments).explain().startswith(reason)


def test_other_datasets_take_torchs_path(rows: list[Any]) -> None:
    loader: Any = DataLoader(rows, 4, collate_fn=DataCollatorWithPadding(HF))
    assert loader.explain() == "torch: the dataset is a list, not a TokenDataset"
    stock = TorchDataLoader(rows, 4, collate_fn=transformers.DataCollatorWithPadding(HF))
    assert_same_batches(loader, stock)


def test_it_is_torchs_class() -> None:
    assert issubclass(fastft.DataLoader, TorchDataLoader)
    assert fastft.DataLoader[int] is not None
    loader: Any = DataLoader(range(10), 4)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_workers_started_by_spawn_get_the_dataset(dataset: TokenDataset) -> None:
    copied = pickle.loads(pickle.dumps(DataCollatorWithPadding(HF)))
    batch = copied(pickle.loads(pickle.dumps(dataset)).__getitems__([0, 1]))
    assert_same_batches([batch], [DataCollatorWithPadding(HF)(dataset.__getitems__([0, 1]))])
