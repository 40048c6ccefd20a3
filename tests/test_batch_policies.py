"""Plans by length against plain Python: every example once, budgets kept, steps full."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st

import fastft
from fastft.data.batch_plan import BatchPlan, RepeatedBatch
from fastft.data.batch_sampler import BatchSampler
from fastft.data.token_dataset import TokenDataset

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTINGS: dict[str, dict[str, Any]] = {
    "bucketed": {"batch_size": 4, "window": 30},
    "tokens": {"max_tokens": 40, "window": 30},
    "packed": {"max_tokens": 40},
}
LENGTHS = [(row * row * 31 + row * 7 + row // 9) % 41 for row in range(211)]
by_length = pytest.mark.parametrize("policy", list(SETTINGS))


def make(lengths: Any, policy: str, **changes: Any) -> BatchSampler:
    return BatchSampler(lengths, policy, **{**SETTINGS[policy], **changes})


def rows_of(batches: Iterable[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


def padded(lengths: list[int], batch: list[int]) -> int:
    return len(batch) * max(lengths[row] for row in batch)


def sorted_windows(order: list[int], lengths: list[int], window: int) -> list[int]:
    rows: list[int] = []
    for number, start in enumerate(range(0, len(order), window)):
        sign = 1 if number % 2 == 0 else -1
        rows += sorted(order[start : start + window], key=lambda row: sign * lengths[row])
    return rows


def cut_bucketed(
    order: list[int], lengths: list[int], window: int, batch_size: int
) -> tuple[list[list[int]], list[list[int]]]:
    full = len(order) // batch_size * batch_size
    rows = sorted_windows(order[:full], lengths, window)
    cut = [rows[start : start + batch_size] for start in range(0, full, batch_size)]
    return cut, [order[full:]] if full < len(order) else []


def cut_tokens(
    order: list[int], lengths: list[int], window: int, max_tokens: int
) -> tuple[list[list[int]], list[list[int]]]:
    cut: list[list[int]] = []
    for row in sorted_windows(order, lengths, window):
        counted = [max(length, 1) for length in lengths]
        if cut and padded(counted, [*cut[-1], row]) <= max_tokens:
            cut[-1].append(row)
        else:
            cut.append([row])
    return cut, []


@given(
    lengths=st.lists(st.integers(0, 40), max_size=90),
    window=st.integers(1, 50),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 3),
    policy=st.sampled_from(["bucketed", "tokens"]),
)
def test_plans_are_those_of_plain_python(
    lengths: list[int], window: int, seed: int, epoch: int, policy: str
) -> None:
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    cut = cut_bucketed if policy == "bucketed" else cut_tokens
    batches, last = cut(order, lengths, window, 4 if policy == "bucketed" else 40)
    drawn = torch.randperm(len(batches), generator=generator).tolist()
    expected = [batches[index] for index in drawn] + last

    sampler = make(lengths, policy, window=window, seed=seed)
    sampler.set_epoch(epoch)
    assert list(sampler) == expected
    plan = sampler.plan()
    assert plan.num_tokens == sum(lengths)
    assert plan.num_padded_tokens == sum(padded(lengths, batch) for batch in expected)


@given(
    lengths=st.lists(st.integers(0, 60), max_size=90),
    seed=st.integers(0, 9),
    policy=st.sampled_from(list(SETTINGS)),
    micro_batches=st.integers(1, 7),
    tail=st.sampled_from(["drop", "pad"]),
)
def test_every_example_once_within_the_budget_in_full_steps(
    lengths: list[int], seed: int, policy: str, micro_batches: int, tail: str
) -> None:
    options: dict[str, Any] = {} if policy == "bucketed" else {"overlong": "drop"}
    sampler = make(
        lengths, policy, seed=seed, micro_batches_per_step=micro_batches, tail=tail, **options
    )
    plan, batches = sampler.plan(), list(sampler)
    assert len(sampler) == len(plan) == len(batches)
    assert len(batches) % micro_batches == 0
    weighted = [batch for batch in batches if not isinstance(batch, RepeatedBatch)]
    seen = sorted(row for batch in weighted for row in batch)
    fitting = [
        row for row, length in enumerate(lengths) if "overlong" not in options or length <= 40
    ]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(fitting)
    assert plan.num_dropped == len(lengths) - len(seen)
    if tail == "pad" or micro_batches == 1:
        assert seen == fitting
    assert all(list(batch) in weighted for batch in batches)
    assert plan.num_repeated == len(batches) - len(weighted)
    if policy == "packed":
        costs = [sum(lengths[row] for row in batch) for batch in batches]
    else:
        costs = [padded(lengths, batch) for batch in batches]
    assert plan.num_padded_tokens == sum(costs)
    if policy != "bucketed":
        assert max(costs, default=0) <= 40
        steps = [costs[at : at + micro_batches] for at in range(0, len(costs), micro_batches)]
        assert all(step == sorted(step, reverse=True) for step in steps if micro_batches > 1)


@by_length
def test_a_plan_is_a_pure_function_of_seed_and_epoch(policy: str) -> None:
    sampler = make(LENGTHS, policy, seed=3)
    first = list(sampler)
    assert list(sampler) == first == list(make(np.array(LENGTHS), policy, seed=3))
    assert sampler.plan() is sampler.plan(0)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(map(sorted, second)) != sorted(map(sorted, first))
    assert list(make(LENGTHS, policy, seed=4)) == second
    assert sampler.plan(0)[:] == first
    copy = pickle.loads(pickle.dumps(sampler))
    assert list(copy) == second
    assert len(pickle.dumps(sampler)) < 4 * len(LENGTHS) + 2000
    assert copy.fingerprint() == sampler.fingerprint()
    assert copy.plan().hash() == sampler.plan().hash() != sampler.plan(0).hash()


@by_length
def test_torchs_own_random_state_is_left_alone(policy: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(make(LENGTHS, policy))
    assert torch.equal(torch.rand(3), expected)


@by_length
def test_a_stock_loader_takes_it(policy: str) -> None:
    sampler = make(LENGTHS, policy, micro_batches_per_step=4, tail="pad")
    loader = torch.utils.data.DataLoader(
        range(len(LENGTHS)),  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=list,
    )
    assert len(loader) == len(sampler)
    assert list(loader) == [list(batch) for batch in sampler]
    ids = np.zeros(sum(LENGTHS), np.uint16)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.uint64)
    dataset = TokenDataset(ids, offsets)
    assert list(make(dataset, policy)) == list(make(LENGTHS, policy))
    batches = list(
        torch.utils.data.DataLoader(dataset, batch_sampler=make(dataset, policy), collate_fn=len)
    )
    assert sum(batches) == len(LENGTHS)


@by_length
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_accelerates_sharding_loses_nothing(policy: str, num_ranks: int) -> None:
    sampler = make(LENGTHS, policy)
    assert sampler.batch_size is None
    assert sampler.drop_last is False
    shards = [
        BatchSamplerShard(sampler, num_ranks, rank, even_batches=False) for rank in range(num_ranks)
    ]
    seen = [row for shard in shards for batch in shard for row in batch]
    assert sorted(seen) == list(range(len(LENGTHS)))


def test_the_shorter_batch_comes_last() -> None:
    for epoch in range(5):
        sampler = make(LENGTHS, "bucketed")
        sampler.set_epoch(epoch)
        sizes = list(map(len, sampler))
        assert sizes == [4] * 52 + [3]
        dropped = make(LENGTHS, "bucketed", drop_last=True)
        assert (len(dropped), dropped.plan(epoch).num_dropped) == (52, 3)


@by_length
@pytest.mark.parametrize(
    ("lengths", "num_batches"),
    [([], 0), ([0], 1), ([1], 1), ([0, 0, 0], 1), ([0, 1, 0], 1), ([40], 1), ([10] * 4, 1)],
)
def test_small_cases(policy: str, lengths: list[int], num_batches: int) -> None:
    sampler = make(lengths, policy)
    assert len(sampler) == num_batches
    assert sorted(rows_of(sampler)) == list(range(len(lengths)))
    assert f"{len(lengths)} examples in {num_batches} batches" in repr(sampler.plan())
    padded = make(lengths, policy, micro_batches_per_step=3, tail="pad")
    assert len(padded) == len(list(padded)) == (3 if lengths else 0)
    assert len(make(lengths, policy, micro_batches_per_step=3).plan()) == 0


def test_rows_without_tokens_count_as_one_each() -> None:
    sampler = BatchSampler([0] * 10, "tokens", max_tokens=4)
    assert sorted(map(len, sampler)) == [2, 4, 4]
    assert (sampler.plan().num_padded_tokens, sampler.plan().padding) == (0, 0.0)


@pytest.mark.parametrize("policy", ["tokens", "packed"])
def test_an_example_above_the_budget(policy: str) -> None:
    with pytest.raises(fastft.ConfigurationError) as caught:
        BatchSampler([3, 60, 40, 50], policy, max_tokens=40)
    assert str(caught.value) == (
        "row 1: a row is longer than max_tokens\n"
        "  found:    60 tokens; 2 of 4 rows are too long\n"
        "  expected: at most 40 tokens\n"
        "  fix:      max_tokens=60, or dataset = dataset.fit(max_tokens, overlong='truncate' or "
        "'split'), or overlong='drop'"
    )
    plan = BatchSampler([3, 60, 40, 50], policy, max_tokens=40, overlong="drop").plan()
    assert sorted(rows_of(plan)) == [0, 2]
    assert plan.num_dropped == 2
    assert "\n  left out: 2 examples\n" in repr(plan)


def test_a_plan_says_what_it_costs() -> None:
    plan = BatchSampler(
        [2, 2, 4], "tokens", max_tokens=8, micro_batches_per_step=2, tail="pad"
    ).plan()
    text = repr(plan)
    assert text.startswith(
        "BatchPlan: 3 examples in 2 batches of 1 to 2, 0.00 % padding, budget 50.00 %"
    )
    alone = BatchSampler([8], "tokens", max_tokens=8, micro_batches_per_step=2, tail="pad").plan()
    assert repr(alone) == (
        "BatchPlan: 1 examples in 2 batches of 1 to 1, 0.00 % padding, budget 100.00 % filled\n"
        "  repeated without weight: 1 batches\n"
        "  0: [0]\n"
        "  1: [0]"
    )
    assert [type(batch) for batch in alone] == [list, RepeatedBatch]
    assert alone != BatchSampler([8], "tokens", max_tokens=8).plan()
    assert BatchSampler([8] * 2, "random", batch_size=1).plan().padding is None


def test_a_fingerprint_tells_settings_and_data_apart() -> None:
    samplers = [
        make(LENGTHS, "tokens"),
        make(LENGTHS, "packed"),
        make(LENGTHS, "bucketed"),
        make(LENGTHS[::-1], "tokens"),
        make(LENGTHS, "tokens", seed=1),
        make(LENGTHS, "tokens", window=31),
        make(LENGTHS, "tokens", max_tokens=41),
        make(LENGTHS, "tokens", overlong="drop"),
        make(LENGTHS, "tokens", micro_batches_per_step=2),
        make(LENGTHS, "tokens", micro_batches_per_step=2, tail="pad"),
        BatchSampler(LENGTHS, batch_size=4),
        BatchSampler(LENGTHS[1:], batch_size=4),
        BatchSampler(LENGTHS, "sequential", batch_size=4),
    ]
    prints = [sampler.fingerprint() for sampler in samplers]
    assert len(set(prints)) == len(prints)
    later = make(np.array(LENGTHS, np.int16), "tokens", max_tokens=np.int64(40))
    later.set_epoch(4)
    assert later.fingerprint() == prints[0]
    # They must stay as they are: checkpoints keep them.
    assert (prints[0], samplers[-1].plan().hash()) == PINNED


def test_a_fingerprint_sees_every_length_and_how_many_there_are() -> None:
    lengths = np.full(200_000, 7, np.uint32)  # more than one block, and more than is hashed whole
    others = [lengths, lengths[:-1], np.append(lengths, np.uint32(7))]
    for row in (0, 30_000, 199_999):
        changed = lengths.copy()
        changed[row] += 1
        others.append(changed)
    others.append(np.concatenate([others[-1][1:], others[-1][:1]]))
    prints = [make(one, "tokens").fingerprint() for one in others]
    assert len(set(prints)) == len(prints)


PINNED = ("f66fa8a64d4f8ce9", "8b1a584164a40cd4")


def test_later_changes_of_the_lengths_do_not_reach_the_plan() -> None:
    lengths = np.array(LENGTHS, np.uint32)
    sampler = make(lengths, "tokens")
    expected = sampler.plan(1)
    lengths[:] = 1
    assert sampler.plan(1) == expected


def test_no_setting_is_too_large() -> None:
    large = 10**30
    assert len(BatchSampler(LENGTHS, "tokens", max_tokens=large, window=large)) == 1
    assert len(BatchSampler(LENGTHS, "packed", max_tokens=large)) == 1
    assert len(list(BatchSampler(LENGTHS, "bucketed", batch_size=large, window=large))) == 1


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        ("tokens", {"batch_size": 4, "max_tokens": 8}, "'tokens' takes no batch_size"),
        ("packed", {}, "'packed' needs max_tokens"),
        ("random", {"batch_size": 4, "max_tokens": 8}, "choose policy 'tokens' or 'packed'"),
        ("bucketed", {"max_tokens": 8}, "'bucketed' takes no max_tokens"),
        ("tokens", {"max_tokens": 0}, "max_tokens is not a number of at least 1"),
        ("tokens", {"max_tokens": 2.5}, "max_tokens is not a number of at least 1"),
        ("token", {"max_tokens": 8}, "policy='tokens'"),
        ("tokens", {"max_tokens": 99, "window": 0}, "window is not a number of at least 1"),
        ("packed", {"max_tokens": 99, "window": 9}, "'packed' takes no window"),
        ("random", {"batch_size": 4, "window": 9}, "choose policy 'bucketed' or 'tokens'"),
        (
            "tokens",
            {"max_tokens": 99, "overlong": "split"},
            r"dataset.fit\(max_tokens, overlong='split'",
        ),
        ("packed", {"max_tokens": 99, "overlong": "truncate"}, "leaves rows as they are"),
        ("packed", {"max_tokens": 99, "overlong": "dorp"}, "overlong='drop'"),
        ("bucketed", {"batch_size": 4, "overlong": "drop"}, "'bucketed' takes no overlong"),
        (
            "random",
            {"batch_size": 4, "micro_batches_per_step": 2},
            "takes no micro_batches_per_step",
        ),
        ("packed", {"max_tokens": 99, "micro_batches_per_step": 0}, "at least 1"),
        ("packed", {"max_tokens": 99, "micro_batches_per_step": 10**9}, "at most 65536"),
        ("packed", {"max_tokens": 99, "tail": "keep"}, "there is no such tail"),
        ("tokens", {"max_tokens": 99, "drop_last": True}, "'tokens' takes no drop_last"),
    ],
)
def test_settings_that_cannot_work(policy: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fastft.ConfigurationError, match=message):
        BatchSampler(LENGTHS, policy, **arguments)


@by_length
def test_a_policy_by_length_needs_lengths(policy: str) -> None:
    with pytest.raises(fastft.DataError, match="these are no lengths"):
        make([{"input_ids": [1, 2]}], policy)
    with pytest.raises(fastft.DataError, match="a TokenDataset"):
        make(torch.utils.data.TensorDataset(torch.zeros(3)), policy)


@pytest.mark.parametrize("policy", ["tokens", "packed"])
def test_steady_epochs_have_one_number_of_batches(policy: str) -> None:
    lengths = np.random.default_rng(5).integers(1, 40, 300)
    options: dict[str, Any] = {"max_tokens": 60, "micro_batches_per_step": 2, "window": 50}
    if policy == "packed":
        del options["window"]
    plain, steady = (BatchSampler(lengths, policy, tail="pad", **options) for _ in range(2))
    steady.steady(6)
    most = max(len(plain.plan(epoch)) for epoch in range(6))
    for epoch in range(6):
        steady.set_epoch(epoch)
        plan, own = steady.plan(), plain.plan(epoch)
        assert len(steady) == len(plan) == most
        assert plan[: len(own)] == own[:]
        assert all(isinstance(batch, RepeatedBatch) for batch in plan[len(own) :])
        assert plan.num_repeated == own.num_repeated + most - len(own)
        weighted = [row for batch in plan if not isinstance(batch, RepeatedBatch) for row in batch]
        assert sorted(weighted) == list(range(300))


def test_a_plan_may_be_filled_with_more_than_it_has() -> None:
    plan = BatchPlan(np.array([2, 0, 1]), np.array([0, 2, 3]))
    assert plan.filled(7)[:] == [[2, 0], [1], [2, 0], [1], [2, 0], [1], [2, 0]]
    assert plan.filled(7).num_repeated == 5
    assert plan.filled(2) is plan
    empty = BatchPlan(np.empty(0, np.int64), np.zeros(1, np.int64))
    assert len(empty.filled(3)) == 0
