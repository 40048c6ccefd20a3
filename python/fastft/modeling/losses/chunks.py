"""A linear layer and its cross entropy by chunks of rows: the logits of one chunk at a time.

torch multiplies, a row kernel turns the logits of a chunk into their gradient where they lie. In
half precision the weight gradient is rounded each time a chunk is added to it, unless it is summed
in float32, and products are fast, so chunks are larger there; on a GPU more so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

from fastft.modeling.losses.kernel import HALF
from fastft.modeling.losses.reference import Rows
from fastft.modeling.losses.wide_sum import WideSum, add_rows

if TYPE_CHECKING:
    from fastft.modeling.losses.kernel import RowKernel
    from fastft.modeling.losses.triton_rows import TritonKernel

    Kernel: TypeAlias = RowKernel | TritonKernel

CHUNK_TOKENS = 256
"""Rows whose logits are made at a time, in float32."""
CHUNK_TOKENS_HALF = 1024
"""The same in half precision."""
CHUNK_TOKENS_DEVICE = 4096
"""The same on a GPU, half of it for more than `LARGE_VOCABULARY` classes."""
LARGE_VOCABULARY = 1 << 16
ALIGNMENT = 64
"""On a GPU rows of logits begin at multiples of so many: products are several times slower else."""
CACHE_LINE = 64
"""On the CPU rows of logits begin at multiples of so many bytes, see `_row_length`."""
CLASSES_AT_ONCE = 4096
"""Rows of the weight gradient that are made and added at a time, where the sum has another type."""
CLASSES_PER_THREAD = 256
"""Columns of float32 logits that a thread makes at a time with AVX2, see `_classes_of_logits`."""


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
        size = _classes_of_logits(rows, len(self.weight))
        for first in range(0, len(self.weight), size):
            part = slice(first, first + size)
            columns = self.weight[part].t()
            if self.bias is None:
                torch.mm(rows, columns, out=out[:, part])
            else:
                torch.addmm(self.bias[part], rows, columns, out=out[:, part])
        return out


def _classes_of_logits(rows: torch.Tensor, num_classes: int) -> int:
    """How many columns of logits are made at a time, at least one.

    Where MKL multiplies with AVX2, a large vocabulary in parts takes five sixths of the time that
    it takes at once, on two threads two thirds to four fifths, and the logits are equal to the bit.
    With AVX-512 this has not been measured.
    """
    is_measured = rows.is_cpu and rows.dtype == torch.float32
    if is_measured and torch.backends.cpu.get_cpu_capability() == "AVX2":
        return CLASSES_PER_THREAD * max(2, torch.get_num_threads())
    return max(num_classes, 1)


class Gradients(NamedTuple):
    """The gradients that are wanted, in the types of what they belong to.

    In float16 those of the layer are sums in float32 still: before they are divided by the number
    of rows they may be too large for it.
    """

    hidden: torch.Tensor | None
    weight: torch.Tensor | WideSum | None
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
    on_device: bool = False
    """Whether the chunks are those of a GPU, and half precision is summed in float32."""

    @property
    def wants_any(self) -> bool:
        """Whether any gradient is wanted."""
        return self.hidden or self.weight or self.bias

    def tokens_at_once(self, weight: torch.Tensor) -> int:
        """Rows of a chunk, for a weight (V, H)."""
        if self.chunk_tokens is not None:
            return self.chunk_tokens
        if self.on_device:
            return CHUNK_TOKENS_DEVICE >> (len(weight) > LARGE_VOCABULARY)
        return CHUNK_TOKENS_HALF if weight.dtype in HALF else CHUNK_TOKENS


def losses(
    linear: Linear,
    labels: torch.Tensor,
    kernel: Kernel,
    plan: Plan,
    *,
    row_weight: torch.Tensor | None = None,
    factor: Any = 1.0,
) -> tuple[Rows, Gradients]:
    """The loss of each row, and the gradients of their sum times `factor`.

    Args:
        linear: Rows (M, H) and layer.
        labels: int64 (M,); on the CPU all of them count.
        kernel: The kernel with the options of the loss.
        plan: How, and which gradients.
        row_weight: (M,), what the loss of each row is multiplied by.
        factor: What the gradients are multiplied by, as the kernel takes it.
    """
    num_rows = linear.hidden.shape[0]
    size = min(plan.tokens_at_once(linear.weight), num_rows)
    room = _room(linear, plan, size)
    sums = _Sums(linear, plan, num_chunks=-(-num_rows // max(size, 1)))
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
        del logits
    # The gradients may need room of their own.
    del room
    return _joined(found, linear.hidden.device), sums.gradients()


def _room(linear: Linear, plan: Plan, num_rows: int) -> torch.Tensor:
    """Where the logits of a chunk go."""
    num_classes = linear.weight.shape[0]
    length = _row_length(num_classes, linear.hidden.element_size(), on_device=plan.on_device)
    return linear.hidden.new_empty(num_rows, length)[:, :num_classes]


def _row_length(num_classes: int, num_bytes: int, *, on_device: bool) -> int:
    """How many elements of `num_bytes` lie between the beginnings of two rows of logits.

    On the CPU an odd number of cache lines. A row that begins within a line costs MKL a third of
    its speed on AMD processors (50,257 classes); rows a power of two apart share few places of the
    cache, and cost a tenth.
    """
    if on_device:
        return -(-num_classes // ALIGNMENT) * ALIGNMENT
    per_line = CACHE_LINE // num_bytes
    return (-(-num_classes // per_line) | 1) * per_line


class _Sums:
    """The gradients while chunks are added."""

    def __init__(self, linear: Linear, plan: Plan, *, num_chunks: int) -> None:
        self.linear = linear
        hidden, weight, bias = linear
        self.hidden = torch.empty_like(hidden) if plan.hidden else None
        self.weight: torch.Tensor | None = None
        self.wide: WideSum | None = None
        self.product: torch.Tensor | None = None
        # One chunk of bfloat16 is summed in float32 as it is.
        is_wide = plan.on_device and num_chunks > 1 and weight.dtype in HALF
        if plan.weight and (is_wide or weight.dtype == torch.float16):
            self.wide = WideSum(weight)
        elif plan.weight:
            self._take_room(weight, plan, num_chunks)
        self.bias: torch.Tensor | None = None
        if plan.bias and bias is not None:
            self.bias = torch.zeros(bias.shape, dtype=_sum_type(bias.dtype), device=bias.device)

    def _take_room(self, weight: torch.Tensor, plan: Plan, num_chunks: int) -> None:
        """Makes room for the sum of the weight gradient."""
        dtype = weight.dtype
        if plan.accum_dtype is not None and not plan.on_device:
            dtype = torch.promote_types(dtype, plan.accum_dtype)
        # A product in another type than its operands has to be made before it is added.
        if dtype != weight.dtype and num_chunks > 1:
            self.product = weight.new_empty(min(CLASSES_AT_ONCE, len(weight)), weight.shape[1])
        # Two products that are rounded already are added and rounded at once.
        dtype = dtype if num_chunks > 2 else weight.dtype
        # The first chunk is written, not added.
        make = torch.empty if num_chunks else torch.zeros
        self.weight = make(weight.shape, dtype=dtype, device=weight.device)

    def add(self, slopes: torch.Tensor, start: int, end: int) -> None:
        """Adds the rows from `start` to `end`, the gradient of whose logits is `slopes`."""
        if self.hidden is not None:
            torch.mm(slopes, self.linear.weight, out=self.hidden[start:end])
        rows = self.linear.hidden[start:end]
        if self.wide is not None:
            self.wide.add(slopes, rows)
        elif self.weight is not None and self.product is None:
            # With beta=0 what lies there is not read.
            self.weight.addmm_(slopes.t(), rows, beta=1 if start else 0)
        elif self.weight is not None:
            self._add_products(self.weight, slopes, rows, is_first=not start)
        if self.bias is not None:
            self.bias.add_(slopes.sum(0, dtype=self.bias.dtype))

    def _add_products(
        self, total: torch.Tensor, slopes: torch.Tensor, rows: torch.Tensor, *, is_first: bool
    ) -> None:
        """Adds `slopes.T @ rows` to a sum of another type, while each part is in the cache."""
        assert self.product is not None
        columns_of = torch.split(slopes, CLASSES_AT_ONCE, dim=1)
        for part, columns in zip(torch.split(total, CLASSES_AT_ONCE), columns_of, strict=True):
            product = torch.mm(columns.t(), rows, out=self.product[: len(part)])
            if is_first:
                part.copy_(product)
            else:
                add_rows(part, product)

    def gradients(self) -> Gradients:
        """The sums."""
        dtype = self.linear.weight.dtype
        if dtype == torch.float16:
            return Gradients(self.hidden, self.wide, self.bias)
        if self.wide is not None:
            self.weight = self.wide.narrowed()
        return Gradients(
            self.hidden,
            None if self.weight is None else self.weight.to(dtype),
            None if self.bias is None else self.bias.to(dtype),
        )


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _joined(found: list[Rows], device: torch.device) -> Rows:
    """The rows of all chunks."""
    if not found:
        return Rows(torch.empty(0, dtype=torch.float64, device=device))
    losses, *others = zip(*found, strict=True)
    return Rows(
        torch.cat(losses), *(None if part[0] is None else torch.cat(part) for part in others)
    )
