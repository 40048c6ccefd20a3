"""The weight gradient in half precision, summed in float32 on the way.

The sum is kept as two halves of the rows. At the end both are narrowed into the memory of the
first, which has the size of the result; so nothing but the sum itself is ever needed.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from fastft import _fastft
from fastft.modeling.losses.kernel import FORMATS, HALF, array, is_plain

FIRST = 1 << 20
"""Values that are narrowed by way of a copy, before there is room."""

CLASSES_AT_ONCE = 4096
"""Columns of float16 that are widened at a time to be multiplied."""

AT_ONCE = 1 << 17
"""Values that are widened before they are added on the CPU: they stay in its cache."""


class WideSum:
    """A float32 sum of products (V, K) times (K, H), given in half precision."""

    def __init__(self, like: torch.Tensor) -> None:
        self.shape = like.shape
        self.dtype = like.dtype
        num_classes, width = like.shape
        wide: dict[str, Any] = {"dtype": torch.float32, "device": like.device}
        self.middle = (num_classes + 1) // 2
        self.halves = [
            torch.zeros(self.middle, width, **wide),
            torch.zeros(num_classes - self.middle, width, **wide),
        ]

    def add(self, slopes: torch.Tensor, rows: torch.Tensor) -> None:
        """Adds `slopes.T @ rows` for slopes (K, V) and rows (K, H)."""
        parts = (slopes[:, : self.middle], slopes[:, self.middle :])
        for total, part in zip(self.halves, parts, strict=True):
            if not total.numel():
                continue
            if sums_in_float32(rows.device, rows.dtype):
                torch.addmm(total, part.t(), rows, out_dtype=torch.float32, out=total)
            elif rows.device.type == "cpu" and rows.dtype == torch.float16:
                _add_product(total, part, rows.float())
            else:
                total.add_(torch.mm(part.t(), rows))

    def narrowed(self) -> torch.Tensor:
        """The sum (V, H) in half precision, once: it takes the place of the first half."""
        first, second = (half.view(-1) for half in self.halves)
        self.halves = []
        place = first.view(self.dtype)
        _narrow_in_place(first, place)
        place[first.numel() : first.numel() + second.numel()].copy_(second)
        return place[: self.shape.numel()].view(self.shape)


def _add_product(total: torch.Tensor, slopes: torch.Tensor, rows: torch.Tensor) -> None:
    """Adds `slopes.T @ rows` in float32: of many rows it may be too large for float16 itself."""
    for sums, part in zip(
        torch.split(total, CLASSES_AT_ONCE),
        torch.split(slopes, CLASSES_AT_ONCE, dim=1),
        strict=True,
    ):
        sums.addmm_(part.t().float(), rows)


def add_rows(total: torch.Tensor, part: torch.Tensor) -> None:
    """Adds `part` to `total`, both (V, H), in place.

    To add values of two types takes torch on the CPU several times as long as to add those of one.
    """
    if total.dtype == part.dtype:
        total.add_(part)
    elif total.is_contiguous() and part.is_contiguous() and is_added_by_rust(total, part):
        _fastft.add_widened(
            *(array(total.view(-1)), array(part.view(-1))),
            format=FORMATS[part.dtype],
            num_threads=torch.get_num_threads(),
        )
    else:
        add_rows_plainly(total, part)


def is_added_by_rust(total: torch.Tensor, part: torch.Tensor) -> bool:
    """Whether the core adds such tensors."""
    return part.dtype in HALF and total.dtype == torch.float32 and is_plain(total, part)


def add_rows_plainly(total: torch.Tensor, part: torch.Tensor) -> None:
    """`add_rows` by torch, by blocks of rows that stay in the cache."""
    size = max(AT_ONCE // max(part.shape[1], 1), 1)
    for start in range(0, len(part), size):
        end = start + size
        total[start:end].add_(part[start:end].to(total.dtype))


def _narrow_in_place(wide: torch.Tensor, narrow: torch.Tensor) -> None:
    """Writes float32 values into the front of their own memory.

    Value i moves from byte 4i to byte 2i: values from i to 2i go where nothing is read any more.
    """
    end = wide.numel()
    done = min(FIRST, end)
    narrow[:done].copy_(wide[:done].clone())
    while done < end:
        upto = min(2 * done, end)
        narrow[done:upto].copy_(wide[done:upto])
        done = upto


@functools.cache
def sums_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch can add a product of this type to a float32 sum here; tried once."""
    if device.type != "cuda":
        return False
    one = torch.zeros(16, 16, dtype=dtype, device=device)
    total = torch.zeros(16, 16, device=device)
    try:
        torch.addmm(total, one, one, out_dtype=torch.float32, out=total)
    except (NotImplementedError, RuntimeError, TypeError):
        return False
    return True
