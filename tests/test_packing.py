"""Bins are those of the plain best-fit decreasing; whatever does not fit is counted."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastft
from fastft.data.packing import PackPlan, pack
from fastft.data.token_dataset import TokenDataset

CAPACITIES_AND_LENGTHS = st.integers(1, 50).flatmap(
    lambda capacity: st.tuples(st.just(capacity), st.lists(st.integers(0, 2 * capacity)))
)


def plain_fill(lengths: list[int], capacity: int) -> list[int]:
    """The fill of each bin by the rule as it is told."""
    fill: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [bin for bin in range(len(fill)) if fill[bin] + length <= capacity]
        if fitting:
            fill[max(fitting, key=fill.__getitem__)] += length
        else:
            fill.append(length)
    return fill


def fill_of(plan: PackPlan) -> list[int]:
    bins = [plan.pieces(index) for index in range(len(plan))]
    return [sum(stop - start for _, start, stop in pieces) for pieces in bins]


def packed_lengths(lengths: list[int], capacity: int, overlong: str) -> list[int]:
    match overlong:
        case "drop":
            return [length for length in lengths if length <= capacity]
        case "truncate":
            return [min(length, capacity) for length in lengths]
    starts = [range(0, max(length, 1), capacity) for length in lengths]
    return [
        min(length - start, capacity)
        for length, row in zip(lengths, starts, strict=True)
        for start in row
    ]


@pytest.mark.parametrize("overlong", ["drop", "truncate", "split"])
@given(drawn=CAPACITIES_AND_LENGTHS)
def test_bins_are_those_of_the_plain_rule(drawn: tuple[int, list[int]], overlong: str) -> None:
    capacity, lengths = drawn
    plan = pack(lengths, capacity, overlong=overlong)
    expected = packed_lengths(lengths, capacity, overlong)
    fill = fill_of(plan)
    assert sorted(fill) == sorted(plain_fill(expected, capacity))
    assert max(fill, default=0) <= capacity
    assert plan.num_tokens == sum(expected)
    if len(plan):
        assert plan.fill == sum(expected) / (len(plan) * capacity)
    assert all(len(rows) > 0 for rows in plan)

    # Every token that was not counted as lost lies in exactly one bin.
    tokens = Counter(
        (row, token)
        for index in range(len(plan))
        for row, start, stop in plan.pieces(index)
        for token in range(start, stop)
    )
    kept = {
        (row, token)
        for row, length in enumerate(lengths)
        for token in range(length)
        if overlong == "split" or (length <= capacity if overlong == "drop" else token < capacity)
    }
    assert tokens == Counter(kept)
    too_long = [length for length in lengths if length > capacity]
    rows = {row for rows in plan for row in rows}
    assert len(rows) == len(lengths) - plan.num_dropped
    assert plan.num_dropped == (len(too_long) if overlong == "drop" else 0)
    assert plan.num_split_rows == (len(too_long) if overlong == "split" else 0)
    is_truncated = overlong == "truncate"
    assert plan.num_truncated_rows == (len(too_long) if is_truncated else 0)
    lost = sum(length - capacity for length in too_long)
    assert plan.num_truncated_tokens == (lost if is_truncated else 0)


def test_many_lengths_are_packed_tightly_and_always_alike() -> None:
    lengths = np.random.default_rng(3).integers(0, 3000, 50_000)
    plan, again = pack(lengths, 3000), pack(lengths.copy(), 3000)
    assert np.array_equal(plan.indices, again.indices)
    assert np.array_equal(plan.bin_offsets, again.bin_offsets)
    assert sorted(plan.indices.tolist()) == list(range(50_000))
    fill = np.add.reduceat(lengths[plan.indices], plan.bin_offsets[:-1])
    assert fill.max() <= 3000
    assert plan.fill > 0.997


@pytest.mark.parametrize(
    ("lengths", "bins"),
    [
        ([], []),
        ([0], [[0]]),
        ([1], [[0]]),
        ([4], [[0]]),
        ([0, 0, 0], [[0, 1, 2]]),
        ([4, 0, 4], [[0], [2, 1]]),
        ([2, 2, 2, 2], [[0, 1], [2, 3]]),
    ],
)
def test_small_cases(lengths: list[int], bins: list[list[int]]) -> None:
    for overlong in ("error", "truncate", "split", "drop"):
        assert pack(lengths, 4, overlong=overlong)[:] == bins


def test_a_row_that_is_too_long_is_named() -> None:
    with pytest.raises(fastft.ConfigurationError) as caught:
        pack([5, 900, 2, 700], 512)
    assert str(caught.value) == (
        "row 1: a row is longer than max_length\n"
        "  found:    900 tokens; 2 of 4 rows are too long\n"
        "  expected: at most 512 tokens\n"
        "  fix:      max_length=900, or overlong='truncate' or overlong='split' or overlong='drop'"
    )


def test_a_plan_is_a_sequence_that_prints() -> None:
    plan = pack([5, 9, 2, 1, 30], 10, overlong="drop")
    assert repr(plan) == (
        "PackPlan: 4 rows in 2 bins of 10, 85.00 % filled\n"
        "  left out: 1 rows longer than a bin\n"
        "  0: [1, 3]\n"
        "  1: [0, 2]"
    )
    assert (len(plan), plan[-1], plan[:1]) == (2, [0, 2], [[1, 3]])
    with pytest.raises(IndexError, match="bin 2 of a plan of 2 bins"):
        plan[2]
    with pytest.raises(IndexError, match="bin -3"):
        plan.pieces(-3)
    assert "truncated: 1 rows, which lose 20 tokens" in repr(pack([30], 10, overlong="truncate"))
    split = pack([30, 2], 10, overlong="split")
    assert "4 pieces in 4 bins of 10, 80.00 % filled\n  split: 1 rows" in repr(split)
    assert repr(pack([], 10)) == "PackPlan: 0 rows in 0 bins of 10, 100.00 % filled"
    assert "... 40 in all]" in repr(pack([1] * 40, 40))
    assert repr(pickle.loads(pickle.dumps(split))) == repr(split)


def test_lengths_come_in_many_forms() -> None:
    expected = pack([3, 7, 2], 10)[:]
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        assert pack(np.array([3, 7, 2], dtype), 10)[:] == expected
    assert pack(np.array([3, 0, 7, 0, 2, 0], np.int64)[::2], 10)[:] == expected
    assert pack(torch.tensor([3, 7, 2]), 10)[:] == expected
    assert pack((3, np.int64(7), 2), np.int64(10))[:] == expected  # type: ignore[arg-type]
    ids, offsets = np.zeros(12, np.uint16), np.array([0, 3, 10, 12], np.uint64)
    assert fastft.pack(TokenDataset(ids, offsets), 10)[:] == expected


class Miscounted(torch.utils.data.Dataset[int]):
    lengths = (3, 4)

    def __len__(self) -> int:
        return 3


def test_a_dataset_knows_the_length_of_each_row() -> None:
    with pytest.raises(fastft.DataError, match="2 lengths of 3 rows"):
        pack(Miscounted(), 10)


def test_later_changes_of_the_lengths_do_not_reach_the_plan() -> None:
    lengths = np.array([3, 7, 2], np.uint32)
    plan = pack(lengths, 10)
    lengths[:] = 0
    assert plan.pieces(0) == [(1, 0, 7), (0, 0, 3)]


def test_no_bin_is_too_large() -> None:
    assert pack([2**32 - 1, 5], 10**30)[:] == [[0, 1]]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, -3], "-3 in row 1"),
        ([1, 2**32], "4294967296 in row 1"),
        (np.array([1, 2**64 - 1], np.uint64), "18446744073709551615 in row 1"),
        ([1, 2**70], r"1180591620717411303424|Python int too large|type object"),
        ([1.0, 2.0], r"1.0 \(float\) in row 0"),
        ([1, None], r"None \(NoneType\) in row 1"),
        ([True, False], r"True \(bool\) in row 0"),
        ([[1, 2], [3, 4]], r"shape \(2, 2\)"),
        ([[1, 2], [3]], "inhomogeneous"),
        (np.array(3), r"shape \(\)"),
        ("123", "str"),
        (5, "int, which has no lengths"),
        ([{"input_ids": [1]}], r"\(dict\) in row 0"),
    ],
)
def test_what_is_no_length(lengths: Any, message: str) -> None:
    with pytest.raises(fastft.DataError, match=message):
        pack(lengths, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 0}, "max_length is not a number of at least 1"),
        ({"max_length": 2.5}, "max_length is not a number of at least 1"),
        ({"max_length": True}, "max_length is not a number of at least 1"),
        ({"max_length": 8, "overlong": "trunc"}, "overlong='truncate'"),
        ({"max_length": 8, "overlong": None}, "'error' or 'truncate' or 'split' or 'drop'"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fastft.ConfigurationError, match=message):
        pack([1, 2], **arguments)
