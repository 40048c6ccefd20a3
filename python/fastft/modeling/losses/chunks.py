"""A linear layer and its cross entropy by chunks of rows: the logits of one chunk at a time.

torch multiplies, the Rust kernel turns the logits of a chunk into their gradient where they lie. In
half precision the weight gradient is rounded each time a chunk is added to it, and products are
fast, so chunks are larger there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from fastft.modeling.losses.reference import Rows

if TYPE_CHECKING:
    from fastft.modeling.losses.kernel import RowKernel

CHUNK_TOKENS = 256
"""Rows whose logits are made at a time, in float32."""
CHUNK_TOKENS_HALF = 1024
"""The same in half precision."""


class Linear(NamedTuple):
    """Rows and the layer that they go through."""

    hidden: torch.Tensor
    """(M, H)."""
    weight: torch.Tensor
    """(V, H)."""
    bias: torch.Tensor | None
    """(V,)."""

    def logits(self, start: int, end: int, out: torch.Tensor) -> torch.Tensor:
        """The logits of the rows from `start` to `end`, written to `out`."""
        rows = self.hidden[start:end]
        if self.bias is None:
            return torch.mm(rows, self.weight.t(), out=out)
        return torch.addmm(self.bias, rows, self.weight.t(), out=out)


class Gradients(NamedTuple):
    """The gradients that are wanted."""

    hidden: torch.Tensor | None
    weight: torch.Tensor | None
    bias: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows are cut, and what is wanted of them."""

    chunk_tokens: int | None = None
    accum_dtype: torch.dtype | None = None
    """The type in which the weight gradient is summed; None for its own."""
    hidden: bool = True
    """Whether the gradient of the hidden rows is wanted."""
    weight: bool = True
    bias: bool = True

    @property
    def wants_any(self) -> bool:
        """Whether any gradient is wanted."""
        return self.hidden or self.weight or self.bias

    def tokens_at_once(self, dtype: torch.dtype) -> int:
        """Rows of a chunk."""
        if self.chunk_tokens is not None:
            return self.chunk_tokens
        is_half = dtype in (torch.bfloat16, torch.float16)
        return CHUNK_TOKENS_HALF if is_half else CHUNK_TOKENS


def losses(
    linear: Linear,
    labels: torch.Tensor,
    kernel: RowKernel,
    plan: Plan,
    *,
    row_weight: torch.Tensor | None = None,
    factor: float = 1.0,
) -> tuple[Rows, Gradients]:
    """The loss of each row, and the gradients of their sum times `factor`.

    Args:
        linear: Rows (M, H) and layer.
        labels: int64 (M,); all of them count.
        kernel: The kernel with the options of the loss.
        plan: How, and which gradients.
        row_weight: (M,), what the loss of each row is multiplied by.
        factor: What the gradients are multiplied by.
    """
    num_rows, num_classes = linear.hidden.shape[0], linear.weight.shape[0]
    size = min(plan.tokens_at_once(linear.hidden.dtype), num_rows)
    room = linear.hidden.new_empty(size, num_classes)
    sums = _Sums(linear, plan)
    found: list[Rows] = []
    for start in range(0, num_rows, max(size, 1)):
        end = min(start + size, num_rows)
        logits = linear.logits(start, end, room[: end - start])
        found.append(
            kernel(
                logits,
                labels[start:end],
                gradient=logits if plan.wants_any else None,
                row_weight=None if row_weight is None else row_weight[start:end],
                factor=factor,
            )
        )
        if plan.wants_any:
            sums.add(logits, start, end)
    return _joined(found), sums.gradients()


class _Sums:
    """The gradients while chunks are added."""

    def __init__(self, linear: Linear, plan: Plan) -> None:
        self.linear = linear
        hidden, weight, bias = linear
        self.hidden = torch.empty_like(hidden) if plan.hidden else None
        self.weight: torch.Tensor | None = None
        self.product: torch.Tensor | None = None
        if plan.weight:
            dtype = plan.accum_dtype or weight.dtype
            self.weight = torch.zeros(weight.shape, dtype=dtype)
            # A product in another type than its operands has to be made before it is added.
            self.product = None if dtype == weight.dtype else torch.empty_like(weight)
        self.bias: torch.Tensor | None = None
        if plan.bias and bias is not None:
            self.bias = torch.zeros(bias.shape, dtype=_sum_type(bias.dtype))

    def add(self, slopes: torch.Tensor, start: int, end: int) -> None:
        """Adds the rows from `start` to `end`, the gradient of whose logits is `slopes`."""
        if self.hidden is not None:
            torch.mm(slopes, self.linear.weight, out=self.hidden[start:end])
        rows = self.linear.hidden[start:end]
        if self.weight is not None and self.product is None:
            # beta=0 spares reading zeros
            self.weight.addmm_(slopes.t(), rows, beta=1 if start else 0)
        elif self.weight is not None:
            self.weight.add_(torch.mm(slopes.t(), rows, out=self.product))
        if self.bias is not None:
            self.bias.add_(slopes.sum(0, dtype=self.bias.dtype))

    def gradients(self) -> Gradients:
        """The sums in the types of what they belong to."""
        _, weight, bias = self.linear
        return Gradients(
            self.hidden,
            None if self.weight is None else self.weight.to(weight.dtype),
            None if self.bias is None or bias is None else self.bias.to(bias.dtype),
        )


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _joined(found: list[Rows]) -> Rows:
    """The rows of all chunks."""
    if not found:
        return Rows(torch.empty(0, dtype=torch.float64))
    losses, *others = zip(*found, strict=True)
    return Rows(
        torch.cat(losses), *(None if part[0] is None else torch.cat(part) for part in others)
    )
