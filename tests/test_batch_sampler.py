from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft import _fastft
from fastft.data.batch_sampler import BatchSampler
from fastft.errors import ConfigurationError, Error


def accelerates(num_examples, batch_size, seed, epoch, drop_last):
    """The batches of the stock Trainer: accelerate's sampler under torch's batch sampler."""
    sampler = SeedableRandomSampler(range(num_examples), data_seed=seed)
    sampler.set_epoch(epoch)
    return list(torch.utils.data.BatchSampler(sampler, batch_size, drop_last))


@given(
    num_examples=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 5),
    drop_last=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_random_draws_the_batches_of_the_stock_trainer(
    num_examples, batch_size, seed, epoch, drop_last
):
    sampler = BatchSampler(range(num_examples), batch_size=batch_size, seed=seed,
                           drop_last=drop_last)  # fmt: skip
    sampler.set_epoch(epoch)
    expected = accelerates(num_examples, batch_size, seed, epoch, drop_last)
    assert list(sampler) == expected
    assert len(sampler) == len(expected)


@given(num_examples=st.integers(0, 200), batch_size=st.integers(1, 300))
def test_every_example_comes_once(num_examples, batch_size):
    batches = list(BatchSampler(range(num_examples), batch_size=batch_size))
    assert sorted(index for batch in batches for index in batch) == list(range(num_examples))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_only_set_epoch_moves_on():
    sampler = BatchSampler(range(20), batch_size=4, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert sampler.plan(0)[:] == first
    assert list(sampler) == second


def test_sequential_keeps_the_order():
    assert list(BatchSampler(range(5), "sequential", batch_size=2)) == [[0, 1], [2, 3], [4]]


def test_a_plan_can_be_printed_indexed_and_compared():
    plan = BatchSampler(range(9), "sequential", batch_size=2).plan()
    assert repr(plan).splitlines() == [
        "BatchPlan: 9 examples in 5 batches of 1 to 2",
        "  0: [0, 1]",
        "  1: [2, 3]",
        "  2: [4, 5]",
        "  ...",
    ]
    assert plan[-1] == [8]
    assert plan == BatchSampler(range(9), "sequential", batch_size=2).plan(7)
    with pytest.raises(IndexError):
        plan[5]


def test_an_empty_dataset_has_no_batches():
    sampler = BatchSampler([], batch_size=4)
    assert len(sampler) == 0
    assert list(sampler) == []
    assert repr(sampler.plan()) == "BatchPlan: 0 examples in 0 batches"


def test_a_batch_larger_than_the_dataset_is_the_dataset():
    assert list(BatchSampler(range(3), "sequential", batch_size=10)) == [[0, 1, 2]]
    assert list(BatchSampler(range(3), batch_size=10, drop_last=True)) == []


def test_an_unknown_policy_is_answered_with_the_nearest():
    with pytest.raises(ConfigurationError, match="policy='random'"):
        BatchSampler(range(3), "randm", batch_size=1)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "16"])
def test_a_batch_size_that_is_none_is_refused(batch_size):
    with pytest.raises(ConfigurationError, match="batch_size"):
        BatchSampler(range(3), batch_size=batch_size)


def test_a_stock_loader_takes_it():
    loader = torch.utils.data.DataLoader(
        list(range(10)), batch_sampler=BatchSampler(range(10), batch_size=3, seed=1)
    )
    assert sorted(torch.cat(list(loader)).tolist()) == list(range(10))


@pytest.mark.parametrize("order", [[0, 3], [-1, 0], [2**62]])
def test_an_order_that_leaves_the_dataset_is_refused_in_rust(order):
    with pytest.raises(Error):
        _fastft.cut_batches(
            np.array(order, dtype=np.int64), num_examples=3, batch_size=1, drop_last=False
        )
