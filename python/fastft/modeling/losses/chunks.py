"""A linear layer and its cross entropy by chunks of rows: the logits of one chunk at a time.

torch multiplies, the Rust kernel turns the logits of a chunk into their gradient where they lie. In
half precision the weight gradient is rounded each time something is added to it, so there the
chunks of several softmaxes share one product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from fastft.modeling.losses.reference import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastft.modeling.losses.kernel import RowKernel

CHUNK_TOKENS = 256
"""Rows whose logits are made at a time."""
TOKENS_BETWEEN_ROUNDINGS = 1024
"""Rows whose share of a weight gradient in half precision is rounded once."""


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

    chunk_tokens: int = CHUNK_TOKENS
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

    def block_tokens(self, dtype: torch.dtype) -> int:
        """Rows that share the products of the gradients: whole chunks."""
        if dtype in (torch.float32, torch.float64) or not self.wants_any:
            return self.chunk_tokens
        return max(TOKENS_BETWEEN_ROUNDINGS // self.chunk_tokens, 1) * self.chunk_tokens


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
    block = min(plan.block_tokens(linear.hidden.dtype), num_rows)
    room = linear.hidden.new_empty(block, num_classes)
    sums = _Sums(linear, plan)
    found: list[Rows] = []
    for start, end in _spans(num_rows, block):
        for low, high in _spans(end - start, plan.chunk_tokens):
            logits = linear.logits(start + low, start + high, room[low:high])
            rows = slice(start + low, start + high)
            found.append(
                kernel(
                    logits,
                    labels[rows],
                    gradient=logits if plan.wants_any else None,
                    row_weight=None if row_weight is None else row_weight[rows],
                    factor=factor,
                )
            )
        if plan.wants_any:
            sums.add(room[: end - start], start, end)
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


def _spans(length: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, max(step, 1)):
        yield start, min(start + step, length)


def _joined(found: list[Rows]) -> Rows:
    """The rows of all chunks."""
    if not found:
        return Rows(torch.empty(0, dtype=torch.float64))
    return Rows(
        *(None if part[0] is None else torch.cat(part) for part in zip(*found, strict=True))
    )
