from __future__ import annotations

import pytest
import torch
import transformers
from accelerate import Accelerator

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.token_dataset import TokenDataset
from tests.tiny import sentences, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def dataset(tokenizer):
    texts = [text for text, _ in sentences(37)]
    return TokenDataset.from_texts(texts, tokenizer, columns={"labels": [0] * 37})


def same_batches(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for our_batch, their_batch in zip(ours, theirs, strict=True):
        assert list(our_batch) == list(their_batch)
        for name in their_batch:
            assert torch.equal(our_batch[name], their_batch[name]), name


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 8, 50])
def test_the_same_seed_gives_the_batches_of_torch(dataset, tokenizer, batch_size, drop_last):
    options = {"batch_size": batch_size, "shuffle": True, "drop_last": drop_last}
    stock = torch.utils.data.DataLoader(
        [dataset[row] for row in range(len(dataset))],
        collate_fn=transformers.DataCollatorWithPadding(tokenizer),
        generator=torch.Generator().manual_seed(5),
        **options,
    )
    ours = DataLoader(
        dataset,
        collate_fn=DataCollatorWithPadding(tokenizer),
        generator=torch.Generator().manual_seed(5),
        **options,
    )
    assert ours.explain().startswith("rust")
    same_batches(ours, stock)
    same_batches(ours, stock)  # the second epoch, another order


def test_it_draws_as_much_from_the_global_generator_as_torch(dataset, tokenizer):
    draws = []
    for loader in (
        torch.utils.data.DataLoader(list(range(37)), batch_size=8, shuffle=True),
        DataLoader(dataset, batch_size=8, shuffle=True,
                   collate_fn=DataCollatorWithPadding(tokenizer)),
    ):  # fmt: skip
        torch.manual_seed(11)
        list(loader)
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[1]


def test_accelerate_rebuilds_it_around_the_same_parts(dataset, tokenizer):
    loader = DataLoader(dataset, batch_size=8, collate_fn=DataCollatorWithPadding(tokenizer))
    prepared = Accelerator(cpu=True).prepare(loader)
    assert prepared.dataset is dataset
    assert prepared.collate_fn is loader.collate_fn
    same_batches(prepared, loader)


def test_explain_says_why_rust_does_not_make_the_batches(dataset, tokenizer):
    collate = DataCollatorWithPadding(tokenizer)
    assert "examples come one by one" in DataLoader(dataset, batch_size=None).explain()
    assert "not fastft.DataCollatorWithPadding" in DataLoader(dataset).explain()
    assert "a list, not a TokenDataset" in DataLoader([1], collate_fn=collate).explain()
    subset = torch.utils.data.Subset(dataset, [0, 1])
    assert DataLoader(subset, collate_fn=collate).explain().startswith("rust")


def test_a_subset_is_made_in_rust_and_right(dataset, tokenizer):
    subset = torch.utils.data.Subset(dataset, [5, 3, 30])
    collate = DataCollatorWithPadding(tokenizer)
    (batch,) = DataLoader(subset, batch_size=3, collate_fn=collate)
    expected = collate([dataset[row] for row in (5, 3, 30)])
    same_batches([batch], [expected])


def test_anything_else_is_torch_to_the_letter():
    loader: DataLoader[int] = DataLoader([3, 1, 2], batch_size=2)
    assert [batch.tolist() for batch in loader] == [[3, 1], [2]]
    assert DataLoader[int] is not None
    with pytest.raises(ValueError, match="batch_sampler"):
        DataLoader([1], batch_size=2, batch_sampler=[[0]])
