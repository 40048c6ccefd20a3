"""Sums in float32 that end in half precision, in the memory that they began in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastft
from fastft import _fastft
from fastft.modeling.losses import chunks, wide_sum
from fastft.modeling.losses.wide_sum import WideSum

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("num_classes", "width"), [(1, 5), (2, 1), (7, 3), (100, 8)])
@pytest.mark.parametrize("first", [1, 16, 1 << 20])
def test_a_wide_sum_is_narrowed_where_it_lies(
    first: int, num_classes: int, width: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide_sum, "FIRST", first)
    total = WideSum(torch.zeros(num_classes, width, dtype=dtype, device=DEVICE))
    right = torch.zeros(num_classes, width, dtype=torch.float64)
    for seed in range(3):
        torch.manual_seed(seed)
        slopes = (torch.randint(-4, 5, (4, num_classes + 3)) / 8).to(DEVICE, dtype)
        rows = (torch.randint(-4, 5, (4, width)) / 8).to(DEVICE, dtype)
        total.add(slopes[:, :num_classes], rows)
        right += slopes[:, :num_classes].double().t().cpu() @ rows.double().cpu()
    found = total.narrowed()
    assert torch.equal(found.cpu(), right.to(dtype))
    assert found.is_contiguous()
    assert found.untyped_storage().nbytes() <= 2 * (num_classes + 1) * width


def test_the_sum_itself_is_all_that_is_needed() -> None:
    total = WideSum(torch.zeros(64, 16, dtype=torch.bfloat16, device=DEVICE))
    place = total.halves[0].untyped_storage().data_ptr()
    assert total.narrowed().untyped_storage().data_ptr() == place
    assert total.halves == []


def test_torch_on_the_cpu_makes_the_product_first() -> None:
    assert not wide_sum.sums_in_float32(torch.device("cpu"), torch.bfloat16)


def test_where_torch_can_it_adds_the_product_to_the_float32_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[torch.Tensor] = []

    def addmm(total: Any, a: Any, b: Any, *, out_dtype: Any, out: Any) -> Any:
        assert out is total and total.dtype == out_dtype == torch.float32
        calls.append(a)
        return out.add_(a.float() @ b.float())

    monkeypatch.setattr(wide_sum, "sums_in_float32", lambda device, dtype: True)
    monkeypatch.setattr(torch, "addmm", addmm)
    slopes, rows = torch.randn(4, 7).bfloat16(), torch.randn(4, 3).bfloat16()
    total = WideSum(torch.zeros(7, 3, dtype=torch.bfloat16))
    total.add(slopes, rows)
    total.add(slopes, rows)
    assert [tuple(one.shape) for one in calls] == [(4, 4), (3, 4)] * 2
    assert torch.equal(total.narrowed(), (2 * (slopes.float().t() @ rows.float())).bfloat16())


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 5])
def test_sums_on_the_cpu_round_each_product_and_their_sum_once(
    num_chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than one product; the room for the sum may hold anything before."""
    # The last part is smaller.
    monkeypatch.setattr(chunks, "CLASSES_AT_ONCE", 8)
    found, exact = summed(num_chunks, torch.bfloat16)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 5])
def test_sums_of_float16_on_the_cpu_stay_wide(
    num_chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide_sum, "CLASSES_AT_ONCE", 6)
    found, exact = summed(num_chunks, torch.float16, size=200.0)
    assert isinstance(found, WideSum) and float(exact.abs().max()) > 65_504
    wide = torch.cat(found.halves)
    assert float((wide - exact).abs().max() / exact.abs().max()) < 1e-6


def summed(
    num_chunks: int, dtype: torch.dtype, size: float = 1.0
) -> tuple[torch.Tensor | WideSum | None, torch.Tensor]:
    """A weight gradient of chunks of 7 rows, and what it has to be but for its own rounding."""
    generator = torch.Generator().manual_seed(num_chunks)
    hidden = (torch.randn(num_chunks * 7, 9, generator=generator) * size).to(dtype)
    weight = torch.randn(31, 9, generator=generator).to(dtype)
    slopes = (torch.randn(num_chunks * 7, 31, generator=generator) * size).to(dtype)
    plan = chunks.Plan(chunk_tokens=7, accum_dtype=torch.float32)
    sums = chunks._Sums(chunks.Linear(hidden, weight, None), plan, num_chunks=num_chunks)
    exact = torch.zeros(31, 9)
    for start in range(0, len(hidden), 7):
        end = start + 7
        sums.add(slopes[start:end], start, end)
        product = torch.mm(slopes[start:end].t().float(), hidden[start:end].float())
        # In bfloat16 each product is rounded before it is added.
        exact += product.bfloat16() if dtype == torch.bfloat16 else product
    return sums.gradients().weight, exact


@pytest.mark.parametrize("add", [wide_sum.add_rows, wide_sum.add_rows_plainly])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (5, 7), (300, 1024)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_are_added_to_the_bit(add: Any, shape: tuple[int, int], dtype: torch.dtype) -> None:
    total, part = torch.randn(shape), torch.randn(shape).to(dtype)
    exact = total + part.float()
    add(total, part)
    assert torch.equal(total, exact)


def test_what_is_not_finite_is_added_too() -> None:
    odd = torch.tensor([[torch.nan, torch.inf, -torch.inf, 1e-40, -0.0, 3.3e38]])
    total, part = torch.ones(4, 6), odd.expand(4, 6).bfloat16().contiguous()
    total[1], total[2], total[3] = torch.inf, torch.nan, 3.3e38
    exact = total + part.float()
    wide_sum.add_rows(total, part)
    torch.testing.assert_close(total, exact, rtol=0, atol=0, equal_nan=True)


def test_the_core_adds_and_rows_that_lie_apart_are_left_to_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[torch.Tensor] = []
    monkeypatch.setattr(wide_sum, "add_rows_plainly", lambda total, part: calls.append(total))
    total, part = torch.zeros(6, 4), torch.ones(6, 4).bfloat16()
    wide_sum.add_rows(total, part)
    assert not calls and (total == 1).all()
    wide_sum.add_rows(torch.zeros(4, 6).t(), part)
    wide_sum.add_rows(total, torch.ones(4, 6).bfloat16().t())
    wide_sum.add_rows(total.double(), part)
    assert len(calls) == 3


def test_the_core_refuses_what_it_cannot_add() -> None:
    total, part = np.zeros(3, np.float32), np.zeros(2, np.uint16)
    with pytest.raises(fastft.DataError, match="part"):
        _fastft.add_widened(total, part, format="bfloat16")
    with pytest.raises(ValueError, match="no 16-bit format"):
        _fastft.add_widened(total[:2], part, format="float32")
    with pytest.raises(ValueError, match="must be contiguous"):
        _fastft.add_widened(total, np.zeros(6, np.uint16)[::2], format="float16")
