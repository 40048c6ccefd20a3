"""Rows of a tensor moved to other places: `gather` and `spread`, each the gradient of the other.

The gradient of torch's `index_select` adds row by row into zeros, which is slow on a CPU. Here no
row is ever taken twice, so the gradient can be copied.
"""

from __future__ import annotations

from typing import Any

import torch


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(values)
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (index,) = ctx.saved_tensors
        return spread(grads[0], index, ctx.size), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
        ctx.save_for_backward(index)
        return values.new_zeros((size, *values.shape[1:])).index_copy_(0, index, values)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return gather(grads[0], index), None, None


def gather(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Gives `values[index]`.

    Args:
        values: (M, ...) rows.
        index: int64 (N,), no number twice.

    Returns:
        (N, ...).
    """
    result: torch.Tensor = _Gather.apply(values, index)
    return result


def spread(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Gives `out` with `out[index] = values` and zeros elsewhere.

    Args:
        values: (N, ...) rows.
        index: int64 (N,), no number twice.
        size: M, the rows of the result.

    Returns:
        (M, ...).
    """
    result: torch.Tensor = _Spread.apply(values, index, size)
    return result
