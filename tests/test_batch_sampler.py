"""The random policy draws the very batches of accelerate's sampler under torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from hypothesis import given
from hypothesis import strategies as st

import fastft
from fastft.data.batch_sampler import BatchPlan, BatchSampler
from fastft.data.token_dataset import TokenDataset


def stock(n: int, batch_size: int, seed: int, epoch: int, drop_last: bool) -> list[list[int]]:
    sampler = SeedableRandomSampler(range(n), data_seed=seed)
    sampler.set_epoch(epoch)
    return list(torch.utils.data.BatchSampler(sampler, batch_size, drop_last))


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 1000, 5003])
@pytest.mark.parametrize("seed", [0, 42, 2**31])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_random_batches_are_accelerates(n: int, seed: int, epoch: int) -> None:
    for drop_last in (False, True):
        sampler = BatchSampler(range(n), batch_size=16, seed=seed, drop_last=drop_last)
        sampler.set_epoch(epoch)
        expected = stock(n, 16, seed, epoch, drop_last)
        assert list(sampler) == expected
        assert len(sampler) == len(expected)
        assert list(sampler.plan(epoch)) == expected


@given(
    n=st.integers(0, 60),
    batch_size=st.integers(1, 9),
    policy=st.sampled_from(["random", "sequential"]),
    drop_last=st.booleans(),
)
def test_every_example_comes_once(n: int, batch_size: int, policy: str, drop_last: bool) -> None:
    sampler = BatchSampler(range(n), policy, batch_size=batch_size, drop_last=drop_last)
    batches = list(sampler)
    seen = [index for batch in batches for index in batch]
    assert len(set(seen)) == len(seen) == (n // batch_size * batch_size if drop_last else n)
    assert len(batches) == len(sampler)
    assert all(type(index) is int for index in seen)
    if policy == "sequential":
        assert seen == list(range(len(seen)))


def test_only_set_epoch_moves_on() -> None:
    sampler = BatchSampler(range(50), batch_size=8, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert sampler.plan(0)[:] == first
    assert list(sampler) == second
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_torchs_own_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(BatchSampler(range(50), batch_size=8))
    assert torch.equal(torch.rand(3), expected)


def test_it_takes_a_dataset_or_lengths() -> None:
    ids, offsets = np.zeros(6, np.uint16), np.array([0, 1, 4, 6], np.uint64)
    dataset = TokenDataset(ids, offsets)
    assert list(BatchSampler(dataset, "sequential", batch_size=2)) == [[0, 1], [2]]
    assert list(BatchSampler(dataset.lengths, "sequential", batch_size=2)) == [[0, 1], [2]]


def test_accelerate_finds_what_it_needs() -> None:
    sampler = BatchSampler(range(10), batch_size=4, drop_last=True)
    assert (sampler.batch_size, sampler.drop_last) == (4, True)
    assert "10 examples, policy='random', batch_size=4" in repr(sampler)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "by_size", "batch_size": 2}, "'random' or 'sequential' or 'bucketed'"),
        ({}, "needs batch_size"),
        ({"policy": "randon", "batch_size": 2}, "policy='random'"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 2.0}, "at least 1"),
        ({"batch_size": True}, "at least 1"),
    ],
)
def test_settings_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fastft.ConfigurationError, match=message):
        BatchSampler(range(4), **arguments)


def test_a_plan_is_a_sequence_that_prints() -> None:
    plan = BatchSampler(range(9), "sequential", batch_size=2).plan()
    assert isinstance(plan, BatchPlan)
    assert (len(plan), plan[0], plan[-1], plan[1:3]) == (5, [0, 1], [8], [[2, 3], [4, 5]])
    assert repr(plan) == (
        "BatchPlan: 9 examples in 5 batches of 1 to 2\n  0: [0, 1]\n  1: [2, 3]\n  2: [4, 5]\n  ..."
    )
    assert plan == BatchSampler(range(9), "sequential", batch_size=2).plan(4)
    assert plan != BatchSampler(range(9), batch_size=2).plan()
    with pytest.raises(IndexError):
        plan[5]
    assert "0 examples in 0 batches" in repr(BatchSampler([], batch_size=2).plan())
